"""Datasets: images with labels in fixed splits."""
