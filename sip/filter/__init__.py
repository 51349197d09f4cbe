"""Filters: generated images in, a verdict on each out; only kept images are trained on."""
