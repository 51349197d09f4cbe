"""Parts of a data set: `Subset` of the training part, and held-out parts, by class and by hash.

The rank of a row depends on its own `sample_id` and the seed only: not on the order of the files,
on other rows, or on the version of a random generator. So 5 shots contain the 2, and an image that
is added later moves no other one.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Annotated, Protocol, TypeVar

from pydantic import Field

from sip.core.component import Component, component, refuse
from sip.core.errors import UserError
from sip.core.hashing import ranks, seed_of
from sip.core.ranges import Count, Rate, Seed, Share
from sip.dataset.base import Split
from sip.dataset.files import Entry

FREQUENCY_GROUPS = ("head", "middle", "tail")
ROUNDING = 1e-9  # 500 * 100 ** -1 is 5 in spite of floating point
HeldOut = Annotated[float, Field(ge=0, lt=1)]  # a share of each class that becomes another part


class Labelled(Protocol):
    """A row that can be chosen; `Sample` is one."""

    @property
    def sample_id(self) -> str:
        """Unique within the data set."""

    @property
    def label(self) -> int:
        """Class index."""


R = TypeVar("R", bound=Labelled)
E = TypeVar("E", bound=Entry)


def ranked(rows: Sequence[R], purpose: str, seed: int) -> dict[int, list[R]]:
    """Return label -> the rows of that class, in an order given by `purpose` and `seed`."""
    by_label: dict[int, list[tuple[bytes, R]]] = defaultdict(list)
    for rank, row in zip(ranks([row.sample_id for row in rows], purpose, seed), rows, strict=True):
        by_label[row.label].append((rank, row))
    return {
        label: [row for _, row in sorted(members, key=itemgetter(0))]
        for label, members in by_label.items()
    }


def take(rows: Sequence[R], chosen: Sequence[R]) -> tuple[list[R], list[R]]:
    """Divide the rows into the chosen and the rest, both in their old order."""
    ids = {row.sample_id for row in chosen}
    inside = [row for row in rows if row.sample_id in ids]
    return inside, [row for row in rows if row.sample_id not in ids]


@component
class Subset(Component):
    """Options of every data set that reduce its training part; val and test are never touched.

    The rows of a class are in one order, given by `seed`, and each option keeps the first of them:
    so 2 shots are part of 5, a fraction of a larger one, a long tail of a shorter one. Null, or a
    value that changes nothing (fraction 1, imbalance 1, label noise 0), is the same as none.

    Args:
        shots: Training images a class.
        fraction: Share of each class, rounded, one image at least.
        imbalance: Largest over smallest class of an exponential long tail: class c of C keeps
            floor(n_max * imbalance ** (-c / (C - 1))) images, or all if it has fewer (Cui et al.,
            Class-Balanced Loss, CVPR 2019). Classes in the order of their labels, n_max images in
            the largest one. A `fraction` is taken of what is left.
        label_noise: Share of the remaining labels that another class replaces, each of the other
            classes with the same chance (symmetric noise). The class name follows the wrong label.
        seed: Chooses images and wrong labels.
    """

    shots: Count | None
    fraction: Rate | None
    imbalance: Annotated[float, Field(ge=1)] | None
    label_noise: Share | None
    seed: Seed

    def __post_init__(self) -> None:
        """Refuse two options that both say how many images a class keeps."""
        if self.shots is not None and not (
            self.fraction in (None, 1) and self.imbalance in (None, 1)
        ):
            rule = "null if dataset.fraction or dataset.imbalance is set"
            raise refuse("shots", rule, self.shots, "set dataset.shots=null")

    def choose(self, rows: Sequence[E], num_classes: int) -> list[E]:
        """Return the rows that training sees, in their old order.

        Raises:
            UserError: A class has fewer rows than `shots`, or there is no other class for noise.
        """
        kept = list(rows)
        if self.shots or self.fraction or self.imbalance:
            by_label = ranked(rows, "few-shot", self.seed)
            nums = self.sizes({label: len(by_label[label]) for label in by_label}, num_classes)
            first = [row for label, members in by_label.items() for row in members[: nums[label]]]
            kept = take(rows, first)[0]
        return self._mislabelled(kept, num_classes) if self.label_noise else kept

    def sizes(self, available: Mapping[int, int], num_classes: int) -> dict[int, int]:
        """Return label -> number of images kept, given label -> number available."""
        if self.shots is not None:
            if available and (fewest := min(available.values())) < self.shots:
                raise UserError(
                    f"dataset.shots: must be at most {fewest}, the training images of the smallest "
                    f"class, got {self.shots}; ask for fewer, or for all with dataset.shots=null"
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
            raise UserError(
                "dataset.label_noise: must be null for a single class, got one class; add another"
            )
        order = ranks((row.sample_id for row in rows), "label-noise", self.seed)
        first = sorted(range(len(rows)), key=order.__getitem__)
        num = round((self.label_noise or 0) * len(rows))
        wrong = {rows[position].sample_id for position in first[:num]}
        return [
            row._replace(label=self._other(row, num_classes)) if row.sample_id in wrong else row
            for row in rows
        ]

    def _other(self, row: Entry, num_classes: int) -> int:
        step = seed_of("wrong label", self.seed, row.sample_id) % (num_classes - 1)
        return (row.label + 1 + step) % num_classes


def frequency_groups(counts: Mapping[int, int], num_classes: int) -> dict[str, tuple[int, ...]]:
    """Return "head", "middle" and "tail" -> their classes: thirds by number of training images.

    Equal numbers: the smaller label first. A remainder goes to the first groups.

    Args:
        counts: Label -> number of training images in use.
        num_classes: Classes without an image count too.
    """
    order = sorted(range(num_classes), key=lambda label: (-counts.get(label, 0), label))
    sizes = [(num_classes + 2 - place) // 3 for place in range(len(FREQUENCY_GROUPS))]
    ends = [sum(sizes[:place]) for place in range(len(sizes) + 1)]
    return {
        name: tuple(sorted(order[start:end]))
        for name, start, end in zip(FREQUENCY_GROUPS, ends, ends[1:], strict=False)
    }


def hold_out(rows: Sequence[R], share: float, seed: int) -> tuple[list[R], list[R]]:
    """Divide the rows into (kept, held): `share` of each class is held, rounded, one at least.

    A class with a single row keeps it; with share 0 no row is held out.

    Args:
        rows: The rows to divide.
        share: In [0, 1).
        seed: Seed of the split, never of the run.
    """
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
    """Add missing parts, each a share of train: test first, then pretrain, then val.

    Each share is taken of what the parts before it have left.
    """
    shares: dict[Split, float | None] = {"test": test, "pretrain": pretrain, "val": val}
    for part, share in shares.items():
        if part not in entries and share is not None:
            entries["train"], entries[part] = hold_out(entries["train"], share, seed)


def per_class(rows: Sequence[R], num: int, seed: int) -> tuple[list[R], list[R]]:
    """Divide the rows into (taken, rest): `num` of each class are taken, or all that it has."""
    by_label = ranked(rows, "per-class", seed)
    return take(rows, [row for members in by_label.values() for row in members[:num]])
