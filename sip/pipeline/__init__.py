"""Which stage reads which; plan, filtering, quality of generated sets."""
