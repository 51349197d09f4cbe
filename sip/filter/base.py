"""What the filter room hands out: a `Verdict` a drawn picture.

A verdict may depend on the other pictures (the best share of a class, copies), so it is no row of
the store: it is made anew from rows that are there, which takes seconds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any, Protocol

import numpy as np

from sip.core.errors import UserError

DECIMALS = 4  # of cosines; beyond them they depend on the machine


@dataclass(frozen=True, slots=True)
class Candidate:
    """A drawn picture to judge.

    Attributes:
        image_id, label, class_name: Of the drawn picture.
        sample_id: Of its original.
        path, sha256: Its file and the hash of that.
        source, source_sha256: The same of its original.
    """

    image_id: str
    sample_id: str
    label: int
    class_name: str
    path: str
    sha256: str
    source: str
    source_sha256: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a picture is kept.

    Attributes:
        reason: Why it was rejected, a few words to count by; None: it is kept.
        detail: The same with numbers, in a line for people.
    """

    reason: str | None = None
    detail: str | None = None


KEPT = Verdict()


class Facts(Protocol):
    """What a filter may ask for, as its `reads` says."""

    @property
    def class_names(self) -> Sequence[str]:
        """The classes in words, by label."""

    @property
    def num_threads(self) -> int:
        """Threads that read pictures."""

    def embeddings(self, keys: Sequence[str]) -> np.ndarray:
        """Return the scorer's unit vectors, (N, D), float32, of pictures by their hash."""

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return the scorer's unit vectors, (N, D), float32, of texts."""

    def control(self, paths: Sequence[str]) -> np.ndarray:
        """Return the probabilities, (N, classes), float32, by a classifier of the originals."""


class Filter(Protocol):
    """Judges drawn pictures before they join the training.

    Attributes:
        filters: False: nothing is ever rejected, and the room is left out.
        reads: What it asks of `Facts`, of {"embeddings", "control"}.
    """

    filters: bool
    reads: frozenset[str]

    def recipe(self) -> dict:
        """Return everything that decides the verdicts, but what it reads."""

    def check(self, per_sample: int) -> None:
        """Raise `UserError` if it makes no sense with so many pictures drawn of each original."""

    def judge(self, drawn: Sequence[Candidate], facts: Facts) -> list[Verdict]:
        """Return a verdict on each picture, in their order."""


def check_number(name: str, value: Any, low: float, high: float, expected: str) -> float:
    """Return a number of [low, high] as float.

    Raises:
        UserError: It is none; says what was `expected`.
    """
    right = isinstance(value, int | float) and not isinstance(value, bool)
    if not right or not math.isfinite(value) or not low <= value <= high:
        raise UserError(f"filter.{name}: expected {expected}, came {value!r}")
    return float(value)


def check_template(template: str) -> str:
    """Return a template of a class's prompt.

    Raises:
        UserError: It has another field than `{label}`, or not that one.
    """
    try:
        fields = {field for _, field, _, _ in Formatter().parse(template) if field is not None}
    except ValueError as error:
        raise UserError(f"filter.template: {template!r}: {error}") from error
    if fields != {"label"}:
        raise UserError(f"filter.template: expected the field {{label}} alone, came {template!r}")
    return template
