"""What all readers share: list first, choose the subset, then open; recipe and checks.

A new reader states where its data are in its constructor, and implements `listing` and `facts`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from sip.core.errors import UserError
from sip.dataset.base import Sample, Split
from sip.dataset.files import PARTS, Entry, require_part, require_text, to_samples
from sip.dataset.subsets import Subset

Listing = tuple[Sequence[str], dict[Split, list[Entry]]]


class Reader(ABC):
    """A data set.

    Args:
        subset: What becomes of its training part.
    """

    splits: tuple[Split, ...] = PARTS
    train_part: Split = "train"  # whose pictures the classifier trains on

    def __init__(self, subset: Subset) -> None:
        self.subset = subset
        self.pretrain_fraction: float | None = None
        self._opened: dict[Split, list[Sample]] = {}

    @abstractmethod
    def listing(self) -> Listing:
        """Return the classes in words that fit a prompt, and the entries of each split.

        Raises:
            UserError: The data are not there, or not as they must be.
        """

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Return the recipe without the subset: what decides the pictures of the whole splits."""

    def recipe(self) -> dict:
        """Return everything that decides which pictures the splits hold."""
        return self.facts() | self.subset.options()

    @property
    def class_names(self) -> Sequence[str]:
        """The classes in words that fit a prompt, in the order of the labels."""
        return self._listed[0]

    def samples(self, split: Split) -> list[Sample]:
        """Return the rows of one split; pictures are opened, and hashed, once.

        Raises:
            UserError: The data are not there, or there is no such split or number of shots.
        """
        require_part(split, self.splits)
        if split not in self._opened:
            class_names, entries = self._listed
            rows = entries[self.train_part if split == "train" else split]
            if split == "train":
                rows = self.subset.choose(rows, len(class_names))
            self._opened[split] = to_samples(rows, class_names, split)
        return list(self._opened[split])

    def _set_aside(self, pretrain_fraction: float | None, train_part: Split) -> None:
        """Have a part `pretrain`, and maybe train on it.

        Raises:
            UserError: There is no such part to train on.
        """
        if pretrain_fraction is not None:
            self.splits = ("pretrain", *self.splits)
        known = ("train",) if pretrain_fraction is None else ("train", "pretrain")
        if train_part not in known:
            raise UserError(
                f"dataset.train_part: expected {' or '.join(known)}, came {train_part!r}"
                + ("; pretrain needs dataset.pretrain_fraction" if len(known) == 1 else "")
            )
        self.pretrain_fraction, self.train_part = pretrain_fraction, train_part

    def _later_facts(self) -> dict[str, Any]:
        """Return what recipes hold of a part `pretrain`; nothing where there is none."""
        facts: dict[str, Any] = {}
        if self.pretrain_fraction is not None:
            facts["pretrain_fraction"] = self.pretrain_fraction
        if self.train_part != "train":
            facts["train_part"] = self.train_part
        return facts

    @cached_property
    def _listed(self) -> Listing:
        class_names, entries = self.listing()
        for class_name in class_names:
            require_text(class_name)
        for rows in entries.values():
            for row in rows:
                if not 0 <= row.label < len(class_names):
                    raise UserError(
                        f"dataset: expected labels from 0 to {len(class_names) - 1}, one for each "
                        f"of its classes, came {row.label} for {row.sample_id}; mend the labels"
                    )
        return class_names, entries


def require_trainable(class_names: Sequence[str], parts: dict[Split, list[Sample]]) -> None:
    """Check what training needs and drawing does not; before anything is drawn for it.

    Args:
        class_names: Of the data set.
        parts: Its samples of train, val and test.

    Raises:
        UserError: There is one class only, one without a training picture, or an empty part.
    """
    if len(class_names) < 2:
        raise UserError(
            f"dataset: expected two classes at least to train on, came {', '.join(class_names)} "
            "alone; add the pictures of another class"
        )
    for part, samples in parts.items():
        if not samples:
            raise UserError(
                f"dataset: expected pictures in part {part}, came none; training chooses on val "
                f"and reports on test: give their shares, such as dataset.{part}_fraction=0.1"
            )
    seen = {sample.label for sample in parts["train"]}
    if missing := [name for label, name in enumerate(class_names) if label not in seen]:
        raise UserError(
            f"dataset: expected a training picture in each of {len(class_names)} classes, came "
            f"none for {len(missing)} ({', '.join(missing[:5])}); add some or remove the class"
        )
