"""Captions: images in, candidate captions out."""
