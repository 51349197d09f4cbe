"""Masks: what of an image stays as it is, from files, a column or a segmentation model."""
