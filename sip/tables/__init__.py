"""Tables stage: runs in, tables out."""
