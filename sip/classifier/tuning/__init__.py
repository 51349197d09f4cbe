"""Which of a network's weights are trained, and how the others are kept as they are."""
