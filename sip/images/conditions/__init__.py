"""What a ControlNet reads of an original: its edges or its depth."""
