"""Row type and protocol of the dataset stage: one `Sample` an original image, and class names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

Split = Literal["pretrain", "train", "val", "test"]


@dataclass(frozen=True, slots=True)
class Sample:
    """An original image.

    Attributes:
        sample_id: Stable and readable, unique within the data set.
        path: Absolute path of the image file.
        label: Class index, 0 .. number of classes - 1.
        class_name: The class in words that fit a prompt.
        split: "train", "val" or "test" ("pretrain": for generative models only).
        width, height: Size in px.
        sha256: Hash of the image's content (file bytes, or pixels if the data set ships arrays).
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
        """Return everything that decides which images the splits contain."""

    def samples(self, split: Split) -> Sequence[Sample]:
        """Return the rows of one split, in a fixed order."""


@runtime_checkable
class HasColumns(Protocol):
    """A data set that knows more of its images than path and label."""

    def column_values(self, column: str, key: str) -> dict[str, Any]:
        """Return sample_id -> value in a column, of all parts.

        Args:
            column: Its name.
            key: Key that it was configured with, for messages.

        Raises:
            UserError: There is no such column.
        """
