"""Checks of the engine's own settings, before anything is read or loaded."""

from collections.abc import Sequence
from typing import Any

from sip.core.errors import UserError
from sip.core.image_io import SUFFIXES

STORAGES = ("files", "webdataset")


def one_of(key: str, value: str, known: Sequence[str]) -> str:
    """Return the value of `images.<key>`.

    Raises:
        UserError: It is not one of the known ones.
    """
    if value not in known:
        raise UserError(f"images.{key}: expected one of {', '.join(known)}, came {value!r}")
    return value


def at_least_one(key: str, value: int) -> int:
    """Return the value of `images.<key>`.

    Raises:
        UserError: It is not a whole number of 1 or more.
    """
    if type(value) is not int or value < 1:
        raise UserError(f"images.{key}: expected a number >= 1, came {value!r}")
    return value


def share(key: str, value: float) -> float:
    """Return the value of `images.<key>`.

    Raises:
        UserError: It is not in [0, 1].
    """
    if not _is_number(value) or not 0 <= value <= 1:
        raise UserError(f"images.{key}: expected a share, 0 to 1, came {value!r}")
    return float(value)


def interval(key: str, value: Sequence[float]) -> tuple[float, float]:
    """Return the value of `images.<key>`.

    Raises:
        UserError: It is not two numbers in [0, 1], the lower one first.
    """
    numbers = list(value) if isinstance(value, list | tuple) else []
    if len(numbers) == 2 and all(map(_is_number, numbers)):
        low, high = map(float, numbers)
        if 0 <= low <= high <= 1:
            return low, high
    raise UserError(f"images.{key}: expected [low, high] with 0 <= low <= high <= 1, came {value}")


def file_format(value: str) -> str:
    """Return the value of `images.format`.

    Raises:
        UserError: There is no such format.
    """
    return one_of("format", value, tuple(SUFFIXES))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
