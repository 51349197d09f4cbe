"""New images, generated before training."""
