"""Wordings that messages share: how many of a thing, and the first of many names."""

from collections.abc import Sequence

NUM_NAMED = 3


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return such as "1 run", "2,000 runs"; `plural` where an s at the end is not enough."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def first_of(names: Sequence[object], most: int = NUM_NAMED) -> str:
    """Return the first names, joined by commas, with an ellipsis if there are more."""
    more = ", ..." if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more
