"""New pictures, made before training."""
