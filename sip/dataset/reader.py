"""What all readers share: list first, choose the subset, then open; checks of lists and labels.

A new reader declares where its data are, and implements `listing`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Literal

from sip.core.component import component, refuse
from sip.core.errors import UserError
from sip.core.hashing import digest
from sip.dataset.base import Sample, Split
from sip.dataset.files import PARTS, Entry, require_part, require_text, to_samples
from sip.dataset.subsets import HeldOut, Subset

Listing = tuple[Sequence[str], dict[Split, list[Entry]]]


@component
class Reader(Subset, ABC):
    """A data set."""

    @abstractmethod
    def listing(self) -> Listing:
        """Return the classes in words that fit a prompt, and the entries of each split.

        Raises:
            UserError: The data are missing, or not as they must be.
        """

    @property
    def all_splits(self) -> tuple[Split, ...]:
        """The parts that there are."""
        return PARTS

    @property
    def trained_on(self) -> Split:
        """The listed part whose images the classifier trains on."""
        return "train"

    @property
    def class_names(self) -> Sequence[str]:
        """The classes in words that fit a prompt, in the order of the labels."""
        return self._listed[0]

    @property
    def content(self) -> str:
        """A hash of the classes and of all rows of train, val and test.

        For `known_by("content")`, if the data can change under the same name.
        """
        rows = [
            [split, sample.sample_id, sample.label, sample.sha256]
            for split in PARTS
            for sample in self.samples(split)
        ]
        return digest(list(self.class_names), rows)

    def samples(self, split: Split) -> list[Sample]:
        """Return the rows of one split; images are opened, and hashed, once.

        Raises:
            UserError: The data are missing, or there is no such split or number of shots.
        """
        require_part(split, self.all_splits)
        if split not in self._opened:
            class_names, entries = self._listed
            rows = entries[self.trained_on if split == "train" else split]
            if split == "train":
                rows = self.choose(rows, len(class_names))
            self._opened[split] = to_samples(rows, class_names, split)
        return list(self._opened[split])

    @cached_property
    def _opened(self) -> dict[Split, list[Sample]]:
        return {}

    @cached_property
    def _listed(self) -> Listing:
        class_names, entries = self.listing()
        for class_name in class_names:
            require_text(class_name)
        for rows in entries.values():
            for row in rows:
                if not 0 <= row.label < len(class_names):
                    raise UserError(
                        f"dataset: labels must be in 0 .. {len(class_names) - 1}, one for each of "
                        f"its classes, got {row.label} for {row.sample_id}; fix the labels"
                    )
        return class_names, entries


@component
class PretrainReader(Reader):
    """A data set from whose training part a part `pretrain` can be set aside.

    Args:
        pretrain_fraction: Share of each class of train, after test is taken, that becomes the part
            `pretrain`: what generators of your own may learn from, and nothing else. None: none.
        train_part: Part that the classifier trains on, and of which shots are taken: `train`, or
            `pretrain` for the upper bound of what a generator can give.
    """

    pretrain_fraction: HeldOut | None
    train_part: Literal["train", "pretrain"]

    def __post_init__(self) -> None:
        """Refuse to train on a part that does not exist."""
        super().__post_init__()
        if self.train_part == "pretrain" and self.pretrain_fraction is None:
            fix = "set dataset.pretrain_fraction"
            raise refuse("train_part", "train if there is no part pretrain", self.train_part, fix)

    @property
    def all_splits(self) -> tuple[Split, ...]:
        """The parts that there are."""
        return PARTS if self.pretrain_fraction is None else ("pretrain", *PARTS)

    @property
    def trained_on(self) -> Split:
        """The listed part whose images the classifier trains on."""
        return self.train_part


def require_trainable(class_names: Sequence[str], parts: dict[Split, list[Sample]]) -> None:
    """Check what training needs and generation does not; before anything is generated for it.

    Args:
        class_names: Of the data set.
        parts: Its samples of train, val and test.

    Raises:
        UserError: There is one class only, one without a training image, or an empty part.
    """
    if len(class_names) < 2:
        raise UserError(
            f"dataset: must have two classes at least to train on, got {', '.join(class_names)}; "
            "add the images of another class"
        )
    for part, samples in parts.items():
        if not samples:
            raise UserError(
                f"dataset: part {part} must have images, got none; training chooses on val and "
                f"reports on test: give their shares, such as dataset.{part}_fraction=0.1"
            )
    seen = {sample.label for sample in parts["train"]}
    if missing := [name for label, name in enumerate(class_names) if label not in seen]:
        raise UserError(
            f"dataset: each of {len(class_names)} classes must have a training image, got none for "
            f"{len(missing)} ({', '.join(missing[:5])}); add some or remove the class"
        )
