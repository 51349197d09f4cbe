"""Tokens: known by what they are called, by their form, or as the value of such a variable.

The files that hold them (~/.netrc, the hub's own) are never looked at.
"""

import os
import re
from collections.abc import Mapping

WORDS = r"(token|api_?key|secret(_?key)?|password|passwd|credentials?|access_?key)"
NAME = re.compile(rf"(^|_){WORDS}$", re.IGNORECASE)  # of a key or an environment variable
# The hub's, W&B's (new, and of a server of one's own), GitHub's.
FORM = re.compile(
    r"\b(hf_[A-Za-z0-9]{30,}|wandb_v\d+_\w{30,}|local-[0-9a-f]{40}|gh[oprsu]_\w{36,}"
    r"|github_pat_\w{40,})"
)
LEAST = 12  # characters; shorter values stand in other texts by chance
HIDDEN = "***"


def of_environment() -> dict[str, str]:
    """Return the environment's variables that hold secrets, by their names."""
    return {
        name: value
        for name, value in os.environ.items()
        if NAME.search(name) and len(value) >= LEAST and not value.startswith(("/", "~"))
    }


def kind(key: str, text: str, known: Mapping[str, str]) -> str | None:
    """Return in words which secret a value holds; None if it holds none that can be known.

    Args:
        key: Where it stands.
        text: It.
        known: Of `of_environment`.
    """
    for name, value in known.items():
        if value in text:
            return f"the value of {name}"
    if FORM.search(text):
        return "a token"
    return "a secret, by its name," if NAME.search(key) and text else None


def hide(text: str) -> str:
    """Return a text with the secrets in it crossed out."""
    for value in of_environment().values():
        text = text.replace(value, HIDDEN)
    return FORM.sub(HIDDEN, text)
