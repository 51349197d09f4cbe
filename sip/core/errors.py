"""The error a user caused and can mend."""


class UserError(Exception):
    """One line: what was expected, what came, what to do. Shown without a traceback."""


class DamagedError(UserError):
    """A finished file is no longer what was written; it is named, and never used."""
