"""Dataset room: pictures with labels in fixed splits out."""
