"""Augmentation room: what is done to pictures offline, per sample and per batch."""
