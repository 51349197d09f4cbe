"""Prompts room: captions and scores in, the drawing list out."""
