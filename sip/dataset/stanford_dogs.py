"""Stanford Dogs (Khosla et al., Novel Dataset for Fine-Grained Image Categorization, 2011).

Images/n02085620-Chihuahua/n02085620_5927.jpg
train_list.mat, test_list.mat    file_list: cells "n02085620-Chihuahua/n02085620_5927.jpg",
                                 labels: numbers from 1, by the folders' names
"""

from collections.abc import Sequence
from pathlib import Path

from sip.dataset.listed import Listed, Lists


def read_list(path: Path) -> list[tuple[str, int]]:
    """Return (file, label from 0) of each picture of a list.

    Raises:
        OSError, ValueError, KeyError: The file is missing or is no such list.
    """
    from scipy.io import loadmat

    table = loadmat(path, squeeze_me=True)
    pairs = zip(table["file_list"], table["labels"], strict=True)
    return [(str(file), int(label) - 1) for file, label in pairs]


class StanfordDogs(Listed):
    """The dogs; see `Listed`. Class names lose their number: "Chihuahua"."""

    name = "stanford_dogs"

    def read_lists(self) -> tuple[Sequence[str], Lists]:
        """Return the classes' names, and (file, label) of each picture, in the lists' order."""
        train, test = (read_list(self.folder / f"{part}_list.mat") for part in ("train", "test"))
        folders = {label: file.partition("/")[0] for file, label in train + test}
        images = self.folder / "Images"
        lists: Lists = {
            "train": [(images / file, label) for file, label in train],
            "test": [(images / file, label) for file, label in test],
        }
        return [folders[label].partition("-")[2] for label in sorted(folders)], lists
