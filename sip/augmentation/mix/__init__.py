"""Changes of a batch, or of its feature maps, while training."""
