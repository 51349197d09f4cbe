"""Filter room: drawn pictures in, a verdict on each out; only what is kept is trained on."""
