"""Texts and values for other people's eyes: where things lie on this machine stays out of them."""

import re
from pathlib import PurePath
from typing import Any

WHOLE = re.compile(r"(/|~|[A-Za-z]:[\\/]|\\\\)")  # how a value begins that is an absolute path
WITHIN = re.compile(r"(?:(?<=[\s=\[({,'\"])|^)(?:~?/|[A-Za-z]:[\\/])[^\s,'\"\])}]*")


def portable(value: Any) -> Any:
    """Return JSON-like values with absolute paths cut down to their last part."""
    if isinstance(value, dict):
        return {key: portable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [portable(item) for item in value]
    return _last(value) if isinstance(value, str) and WHOLE.match(value) else value


def without_places(text: str) -> str:
    """Return a text with absolute paths cut down to their last part: where things lay is private.

    What stands behind "://" is no path of this machine.
    """
    return WITHIN.sub(lambda match: _last(match[0]), text)


def _last(path: str) -> str:
    return PurePath(path.replace("\\", "/")).name
