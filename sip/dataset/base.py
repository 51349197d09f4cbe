"""What the dataset room hands out: one `Sample` a real picture, and the class names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Split = Literal["pretrain", "train", "val", "test"]


@dataclass(frozen=True)
class Sample:
    """A real picture.

    Attributes:
        sample_id: Stable and readable, unique within the data set.
        path: Absolute path of the picture file.
        label: Class index, 0 .. number of classes - 1.
        class_name: The class in words that fit a prompt.
        split: "train", "val" or "test" ("pretrain": for the miniature models alone).
        width, height: Size in px.
        sha256: Hash of the picture's content (file bytes, or pixels where a data set ships arrays).
    """

    sample_id: str
    path: str
    label: int
    class_name: str
    split: Split
    width: int
    height: int
    sha256: str


class Dataset(Protocol):
    """A data set: its class names and the rows of each split."""

    @property
    def class_names(self) -> Sequence[str]:
        """The classes in words, by label."""

    def recipe(self) -> dict:
        """Return everything that decides which pictures the splits hold."""

    def samples(self, split: Split) -> list[Sample]:
        """Return the rows of one split, in a fixed order."""
