"""Formats of an export, a file each; `sip.export.main.FORMATS` lists them."""
