"""Prompts: captions and scores in, the prompt list out."""
