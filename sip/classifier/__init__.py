"""Classifier room: pictures and labels in, predictions out."""
