"""Checks of a machine and a configuration: what is here, and what is missing.

Nothing is downloaded and no key is shown. The only file that is written is the index of a data
set's image files (`dataset.index`), so that they are decoded once.
"""
