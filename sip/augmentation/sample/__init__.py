"""Changes of each image while training."""
