"""Guidance rules: similarity in, guidance scale out."""
