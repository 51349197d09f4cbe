"""How the batches of a stage are shared out: claims, a fixed share of each worker, or Ray."""
