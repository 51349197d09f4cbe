"""Rows cached by content: fill, shards, claims, repair."""
