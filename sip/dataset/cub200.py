"""CUB-200-2011 (Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, 2011), as it is unpacked.

classes.txt              1 001.Black_footed_Albatross
images.txt               1 001.Black_footed_Albatross/Black_Footed_Albatross_0046_18845034.jpg
image_class_labels.txt   1 1         image, class; both from 1
train_test_split.txt     1 0         image, 1 if it is for training
images/                  the images
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from sip.core.component import component
from sip.dataset.listed import ListedFiles, Lists


def read_table(path: Path) -> dict[int, str]:
    """Return number -> the text after it, for each line.

    Raises:
        OSError, ValueError: The file is missing, or a line is not "<number> <text>".
    """
    rows = (
        line.split(maxsplit=1)
        for line in path.read_text(encoding="utf-8-sig").splitlines()
        if line.strip()
    )
    return {int(number): text.strip() for number, text in rows}


@component
class Cub200(ListedFiles):
    """The birds; see `ListedFiles`. Class names lose their number: "Black footed Albatross"."""

    name: ClassVar[str] = "cub200"

    def read_lists(self) -> tuple[Sequence[str], Lists]:
        """Return the classes' names, and (file, label) of each image, in the list's order."""
        classes = read_table(self.place / "classes.txt")
        labels = read_table(self.place / "image_class_labels.txt")
        is_train = read_table(self.place / "train_test_split.txt")
        lists: Lists = {"train": [], "test": []}
        for number, file in read_table(self.place / "images.txt").items():
            part = lists["train" if int(is_train[number]) else "test"]
            part.append((self.place / "images" / file, int(labels[number]) - 1))
        return [classes[number].partition(".")[2] for number in sorted(classes)], lists
