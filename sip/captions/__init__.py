"""Captions room: pictures in, candidate captions out."""
