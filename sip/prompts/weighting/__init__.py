"""Weighting rules: spans with weights in, prompt embeddings out."""
