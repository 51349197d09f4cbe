"""Augmentation: what is done to images before training, to each image and to each batch."""
