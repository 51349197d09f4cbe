"""Keeping a store in order: what it holds, what is damaged, what no run needs."""
