"""The interface of an export format."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from sip.dataset.base import Split
from sip.export.source import COLUMNS, ExportImage

# What the package `datasets` calls a part.
SPLITS: dict[Split, str] = {"train": "train", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class ExportPart:
    """The images of one part.

    Attributes:
        name: "train", "val" or "test".
        num: How many images there are.
        images: What to write, once.
    """

    name: Split
    num: int
    images: Iterator[ExportImage]


class ImageFormat(ABC):
    """A format that images are written in.

    Args:
        class_names: Class names by label.
        per_file: Images in a file that holds many.
        link: Make hard links to files that are copied as they are.
    """

    is_folder: ClassVar[bool] = False  # a file for each image; links can be made

    def __init__(self, class_names: Sequence[str], per_file: int, link: bool) -> None:
        self.class_names, self.per_file, self.link = list(class_names), per_file, link

    @abstractmethod
    def write(self, parts: Iterable[ExportPart], folder: Path) -> None:
        """Write the images of all parts.

        Args:
            parts: One after the other.
            folder: An empty folder.

        Raises:
            UserError: An image is damaged.
        """

    @abstractmethod
    def data_files(self, part: Split) -> str:
        """Return the pattern of a part's files, for the package `datasets`."""

    @abstractmethod
    def loading(self, counts: dict[Split, int]) -> str:
        """Return Python code that reads the parts, with the images of each counted."""

    def card_fields(self) -> dict[str, Any]:
        """Return further fields of the card's header, once the images are written."""
        return {}

    def num_files(self, num: int) -> int:
        """Return how many files hold `num` images."""
        return -(-num // self.per_file)


def features(class_names: Sequence[str]) -> dict[str, Any]:
    """Return the types of `COLUMNS` in the notation of the package `datasets`."""
    values: dict[str, Any] = {
        name: {"dtype": kind, "_type": "Value"} for name, (kind, _) in COLUMNS.items()
    }
    return values | {"label": {"names": list(class_names), "_type": "ClassLabel"}}
