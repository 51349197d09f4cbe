"""Backbone: a network, before the training of its head."""
