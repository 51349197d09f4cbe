"""Train a small captioner, scorer and generator of your own."""
