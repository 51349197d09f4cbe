"""Stanford Dogs (Khosla et al., Novel Dataset for Fine-Grained Image Categorization, 2011).

Images/n02085620-Chihuahua/n02085620_5927.jpg
train_list.mat, test_list.mat    file_list: cells "n02085620-Chihuahua/n02085620_5927.jpg",
                                 labels: numbers from 1, by the folders' names
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from sip.core.component import component
from sip.dataset.listed import ListedFiles, Lists


def read_list(path: Path) -> list[tuple[str, int]]:
    """Return (file, label from 0) of each image of a list.

    Raises:
        OSError, ValueError, KeyError: The file is missing or not such a list.
    """
    from scipy.io import loadmat

    table = loadmat(path, squeeze_me=True)
    pairs = zip(table["file_list"], table["labels"], strict=True)
    return [(str(file), int(label) - 1) for file, label in pairs]


@component
class StanfordDogs(ListedFiles):
    """The dogs; see `ListedFiles`. Class names lose their number: "Chihuahua"."""

    name: ClassVar[str] = "stanford_dogs"

    def read_lists(self) -> tuple[Sequence[str], Lists]:
        """Return the classes' names, and (file, label) of each image, in the lists' order."""
        train, test = (read_list(self.place / f"{part}_list.mat") for part in ("train", "test"))
        folders = {label: file.partition("/")[0] for file, label in train + test}
        images = self.place / "Images"
        lists: Lists = {
            "train": [(images / file, label) for file, label in train],
            "test": [(images / file, label) for file, label in test],
        }
        return [folders[label].partition("-")[2] for label in sorted(folders)], lists
