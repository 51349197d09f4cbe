"""Parts of a data set: `Subset` of the training part, and held-out parts, by class and by hash.

A row's rank depends on its own `sample_id` and the seed alone: not on the order of the files, on
other rows, or on a random generator's version. So 5 shots contain the 2, and a picture that is
added later moves no other one.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from sip.core.errors import UserError
from sip.core.hashing import digest, seed_of
from sip.dataset.base import Split
from sip.dataset.files import Entry

FREQUENCY_GROUPS = ("head", "middle", "tail")
ROUNDING = 1e-9  # 500 * 100 ** -1 is 5, whatever floating point makes of it


class Row(Protocol):
    """What a choice looks at; `Sample` is one."""

    @property
    def sample_id(self) -> str:
        """Unique within the data set."""

    @property
    def label(self) -> int:
        """Class index."""


R = TypeVar("R", bound=Row)
E = TypeVar("E", bound=Entry)


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


@dataclass(frozen=True)
class Subset:
    """What becomes of the training part of a data set; val and test are never touched.

    The rows of a class stand in one order, given by `seed`, and each option keeps the first of
    them: so 2 shots are part of 5, a fraction of a larger one, a long tail of a shorter one. Null,
    or a value that changes nothing (fraction 1, imbalance 1, label noise 0), is the same as none.

    Args:
        shots: Training pictures a class.
        fraction: Share of each class, in (0, 1], rounded, one picture at least.
        imbalance: Largest over smallest class of an exponential long tail, >= 1: class c of C
            keeps floor(n_max * imbalance ** (-c / (C - 1))) pictures, or all if it has fewer (Cui
            et al., Class-Balanced Loss, CVPR 2019). Classes in the order of their labels, n_max
            pictures in the largest one. A `fraction` is taken of what is left.
        label_noise: Share of the labels kept that another class replaces, each of the others with
            the same chance, in [0, 1] (symmetric noise). The class name goes with the wrong label.
        seed: Chooses pictures and wrong labels.

    Raises:
        UserError: A value is outside its range, or shots meet fraction or imbalance.
    """

    shots: int | None
    fraction: float | None
    imbalance: float | None
    label_noise: float | None
    seed: int

    def __post_init__(self) -> None:
        if self.shots is not None and (type(self.shots) is not int or self.shots < 1):
            raise UserError(f"dataset.shots: expected a number >= 1 or null, came {self.shots}")
        for name, expected, fits in (
            ("fraction", "above 0 and up to 1", lambda value: 0 < value <= 1),
            ("imbalance", ">= 1", lambda value: 1 <= value < math.inf),
            ("label_noise", "from 0 to 1", lambda value: 0 <= value <= 1),
        ):
            value = getattr(self, name)
            if value is not None and not (type(value) in (int, float) and fits(value)):
                raise UserError(
                    f"dataset.{name}: expected a number {expected} or null, came {value}"
                )
        others = self.options().keys() & {"fraction", "imbalance"}
        if self.shots is not None and others:
            raise UserError(
                f"dataset.shots={self.shots} and dataset.{min(others)} both say how many pictures "
                "a class keeps: expected one of them; set dataset.shots=null"
            )

    def options(self) -> dict[str, Any]:
        """Return what a recipe must hold: the options that change something, and the seed."""
        values = {
            "shots": (self.shots, None),
            "fraction": (self.fraction, 1),
            "imbalance": (self.imbalance, 1),
            "label_noise": (self.label_noise, 0),
        }
        found = {key: value for key, (value, same) in values.items() if value not in (None, same)}
        return found | {"seed": self.seed} if found else {}

    def choose(self, rows: Sequence[E], num_classes: int) -> list[E]:
        """Return the rows that training sees, in their old order.

        Raises:
            UserError: A class has fewer rows than `shots`, or there is no other class for noise.
        """
        options = self.options()
        kept = list(rows)
        if options.keys() - {"label_noise", "seed"}:
            by_label = ranked(rows, "few-shot", self.seed)
            nums = self.sizes({label: len(by_label[label]) for label in by_label}, num_classes)
            first = [row for label, members in by_label.items() for row in members[: nums[label]]]
            kept = take(rows, first)[0]
        return self._mislabelled(kept, num_classes) if "label_noise" in options else kept

    def sizes(self, available: Mapping[int, int], num_classes: int) -> dict[int, int]:
        """Return label -> number of pictures kept, of label -> number there is."""
        if self.shots is not None:
            if available and (fewest := min(available.values())) < self.shots:
                raise UserError(
                    f"dataset.shots: expected at most {fewest}, the training pictures of the "
                    f"smallest class, came {self.shots}; ask for fewer, or for all with "
                    "dataset.shots=null"
                )
            return dict.fromkeys(available, self.shots)
        sizes = dict(available)
        if self.imbalance is not None:
            largest, last = max(available.values(), default=0), max(1, num_classes - 1)
            tail = {label: self.imbalance ** (-label / last) for label in available}
            sizes = {
                label: min(num, max(1, int(largest * tail[label] + ROUNDING)))
                for label, num in sizes.items()
            }
        if self.fraction is not None:
            sizes = {label: max(1, round(self.fraction * num)) for label, num in sizes.items()}
        return sizes

    def _mislabelled(self, rows: list[E], num_classes: int) -> list[E]:
        if num_classes < 2:
            raise UserError("dataset.label_noise: expected two classes at least, came one")
        order = sorted(rows, key=lambda row: digest("label-noise", self.seed, row.sample_id))
        wrong = {row.sample_id for row in order[: round((self.label_noise or 0) * len(rows))]}
        return [
            replace(row, label=self._other(row, num_classes)) if row.sample_id in wrong else row
            for row in rows
        ]

    def _other(self, row: Entry, num_classes: int) -> int:
        step = seed_of("wrong label", self.seed, row.sample_id) % (num_classes - 1)
        return (row.label + 1 + step) % num_classes


def frequency_groups(labels: Iterable[int], num_classes: int) -> dict[str, tuple[int, ...]]:
    """Return "head", "middle" and "tail" -> their classes: thirds by number of training pictures.

    Equal numbers: the smaller label first. The groups before take what three does not divide.

    Args:
        labels: Of the training pictures that are used.
        num_classes: Classes without a picture count too.
    """
    counts = Counter(labels)
    order = sorted(range(num_classes), key=lambda label: (-counts[label], label))
    sizes = [(num_classes + 2 - place) // 3 for place in range(len(FREQUENCY_GROUPS))]
    ends = [sum(sizes[:place]) for place in range(len(sizes) + 1)]
    return {
        name: tuple(sorted(order[start:end]))
        for name, start, end in zip(FREQUENCY_GROUPS, ends, ends[1:], strict=False)
    }


def hold_out(rows: Sequence[R], share: float, seed: int) -> tuple[list[R], list[R]]:
    """Part the rows into (kept, held): `share` of each class is held, rounded, one at least.

    A class with a single row keeps it; of share 0 nothing is held. `seed` is the split's, never
    the run's.

    Raises:
        UserError: `share` is outside [0, 1).
    """
    if type(share) not in (int, float) or not 0 <= share < 1:
        raise UserError(
            f"share held out: expected a number between 0 and 1, came {share}; 0 holds nothing out"
        )
    if share == 0:
        return list(rows), []
    chosen: list[R] = []
    for members in ranked(rows, "hold-out", seed).values():
        num = min(max(1, round(share * len(members))), len(members) - 1)
        chosen += members[:num]
    held, kept = take(rows, chosen)
    return kept, held


def make_parts(
    entries: dict[Split, list[R]],
    test: float | None,
    val: float | None,
    seed: int,
    pretrain: float | None = None,
) -> None:
    """Add parts that are not there, each a share of train: test first, then pretrain, then val.

    Each share is of what the parts before it have left.
    """
    shares: dict[Split, float | None] = {"test": test, "pretrain": pretrain, "val": val}
    for part, share in shares.items():
        if part not in entries and share is not None:
            entries["train"], entries[part] = hold_out(entries["train"], share, seed)


def per_class(rows: Sequence[R], num: int, seed: int) -> tuple[list[R], list[R]]:
    """Part the rows into (taken, rest): `num` of each class are taken, or all that it has."""
    by_label = ranked(rows, "per-class", seed)
    return take(rows, [row for members in by_label.values() for row in members[:num]])
