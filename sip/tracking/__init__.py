"""Loggers, W&B runs and artifacts."""
