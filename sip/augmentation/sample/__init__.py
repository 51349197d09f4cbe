"""Changes to each picture while training."""
