"""Errors that the user can fix."""

import re
from collections.abc import Collection
from difflib import get_close_matches
from typing import Any

REFUSED_KEY = re.compile(r"([a-z_]+(?:[./][a-z_]+)*): ")


class UserError(Exception):
    """An error the user can fix; shown in one line, without a traceback."""

    @property
    def refused_key(self) -> str | None:
        """The key, as the user types it, with which the line begins; None without one."""
        match = REFUSED_KEY.match(str(self))
        return match[1] if match else None


class ValueRefusedError(UserError):
    """A value of a component breaks its rule.

    Args:
        key: Name of the field; `build` puts the place of the component in front of it.
        rule: What the value must be, such as "in (0, 1]", or that and what to do.
        value: What was given.
        fix: What to do, if the rule does not say it.
    """

    def __init__(self, key: str, rule: str, value: Any, fix: str = "") -> None:
        self.key, self.rule, self.value, self.fix = key, rule, value, fix
        end = f"; {fix}" if fix else ""
        super().__init__(f"{key}: must be {rule}, got {_shown(value)}{end}")

    def below(self, place: str) -> "ValueRefusedError":
        """Return the error with the key as the user types it, e.g. "prompts.noise_rate"."""
        key = f"{place}.{self.key}" if place else self.key
        return ValueRefusedError(key, self.rule, self.value, self.fix)


class UntrustedError(UserError):
    """A configuration names code that the user does not trust; nothing was called."""


class DamagedError(UserError):
    """A finished file is no longer what was written; it is named, and never used."""


def not_one_of(key: str, choices: Collection[str], value: Any, meant: str = "") -> UserError:
    """Return the error for a value that is none of the choices, with the near ones.

    Args:
        key: As the user types it.
        choices: What it may be.
        value: What was given.
        meant: The choice that has another name elsewhere; empty: those of similar spelling.
    """
    near = [meant] if meant else get_close_matches(str(value), choices)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return UserError(f"{key}: must be one of {', '.join(choices)}, got {value!r}{hint}")


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    text = {"None": "null", "True": "true", "False": "false"}.get(text, text)
    return text if len(text) <= 80 else f"{text[:77]}..."
