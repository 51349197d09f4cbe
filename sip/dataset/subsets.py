"""Parts of a data set, chosen class by class from a hash of seed and `sample_id`.

A row's rank depends on its own `sample_id` and the seed alone: not on the order of the files, on
other rows, or on a random generator's version. So 5 shots contain the 2, and a picture that is
added later moves no other one.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol, TypeVar

from sip.common.errors import UserError
from sip.common.seeds import digest


class Row(Protocol):
    """What a choice looks at; `Sample` is one."""

    @property
    def sample_id(self) -> str:
        """Unique within the data set."""

    @property
    def label(self) -> int:
        """Class index."""


R = TypeVar("R", bound=Row)


def ranked(rows: Sequence[R], purpose: str, seed: int) -> dict[int, list[R]]:
    """Return label -> the rows of that class, in the order that `purpose` and `seed` give them."""
    by_label: dict[int, list[R]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: digest(purpose, seed, row.sample_id)):
        by_label[row.label].append(row)
    return by_label


def take(rows: Sequence[R], chosen: Sequence[R]) -> tuple[list[R], list[R]]:
    """Part the rows into the chosen and the others, both in their old order."""
    ids = {row.sample_id for row in chosen}
    inside = [row for row in rows if row.sample_id in ids]
    return inside, [row for row in rows if row.sample_id not in ids]


def few_shot(rows: Sequence[R], shots: int | None, seed: int) -> list[R]:
    """Return `shots` rows of each class, nested over `shots`; all rows where it is None.

    Raises:
        UserError: Fewer than 1 asked, or a class has fewer rows than asked.
    """
    if shots is None:
        return list(rows)
    if shots < 1:
        raise UserError(f"dataset.shots: expected a number >= 1 or null, came {shots}")
    by_label = ranked(rows, "few-shot", seed)
    if by_label and (fewest := min(len(members) for members in by_label.values())) < shots:
        raise UserError(
            f"dataset.shots: expected at most {fewest}, the training pictures of the smallest "
            f"class, came {shots}; ask for fewer, or for all with dataset.shots=null"
        )
    chosen = [row for members in by_label.values() for row in members[:shots]]
    return take(rows, chosen)[0]


def hold_out(rows: Sequence[R], share: float, seed: int) -> tuple[list[R], list[R]]:
    """Part the rows into (kept, held): `share` of each class is held, rounded, one at least.

    A class with a single row keeps it. `seed` is the split's, never the run's.

    Raises:
        UserError: `share` is outside (0, 1).
    """
    if not 0 < share < 1:
        raise UserError(f"share held out: expected a number between 0 and 1, came {share}")
    chosen: list[R] = []
    for members in ranked(rows, "hold-out", seed).values():
        num = min(max(1, round(share * len(members))), len(members) - 1)
        chosen += members[:num]
    held, kept = take(rows, chosen)
    return kept, held


def per_class(rows: Sequence[R], num: int, seed: int) -> tuple[list[R], list[R]]:
    """Part the rows into (taken, rest): `num` of each class are taken, or all that it has."""
    by_label = ranked(rows, "per-class", seed)
    return take(rows, [row for members in by_label.values() for row in members[:num]])
