"""Changes to a batch, or to its feature maps, while training."""
