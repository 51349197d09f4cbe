"""Images room: the drawing list in, drawn pictures out."""
