"""A generator adapted to one's own classes: LoRA, textual inversion, DreamBooth with LoRA."""
