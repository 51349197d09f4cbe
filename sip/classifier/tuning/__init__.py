"""Which weights of a network are trained, and how the rest stays frozen."""
