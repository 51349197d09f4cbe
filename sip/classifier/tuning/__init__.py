"""Which weights of a network are trained, and how the others are kept as they are."""
