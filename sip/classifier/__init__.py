"""Classifier: images and labels in, predictions out."""
