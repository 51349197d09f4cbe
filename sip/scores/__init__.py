"""Scores room: pictures and captions in, cosines out."""
