"""The error a user caused and can mend."""


class UserError(Exception):
    """One line: what was expected, what came, what to do. Shown without a traceback."""
