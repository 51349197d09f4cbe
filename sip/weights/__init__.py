"""Find, check and load model weights."""
