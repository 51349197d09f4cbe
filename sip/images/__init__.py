"""Images stage: prompts in, generated images out."""
