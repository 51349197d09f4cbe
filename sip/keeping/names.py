"""Names of the commands; imported before anything else is."""

COMMANDS = ("list", "du", "verify", "repair", "compact", "prune", "export", "import")
