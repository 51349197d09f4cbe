"""The command line, and from configuration to objects."""
