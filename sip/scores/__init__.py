"""Scores: images and captions in, cosines out."""
