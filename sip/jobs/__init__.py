"""Train, generate, evaluate, sweeps."""
