"""Metrics room: predictions and pictures in, numbers out."""
