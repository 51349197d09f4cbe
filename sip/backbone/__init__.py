"""Backbone room: a network without its head's training."""
