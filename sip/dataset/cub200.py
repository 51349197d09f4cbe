"""CUB-200-2011 (Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, 2011), as it is unpacked.

classes.txt              1 001.Black_footed_Albatross
images.txt               1 001.Black_footed_Albatross/Black_Footed_Albatross_0046_18845034.jpg
image_class_labels.txt   1 1         picture, class; both from 1
train_test_split.txt     1 0         picture, 1 if it is for training
images/                  the pictures
"""

from collections.abc import Sequence
from pathlib import Path

from sip.dataset.listed import Listed, Lists


def read_table(path: Path) -> dict[int, str]:
    """Return number -> what stands behind it, for each line.

    Raises:
        OSError, ValueError: The file is missing, or a line is not "<number> <text>".
    """
    rows = (
        line.split(maxsplit=1)
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip()
    )
    return {int(number): text.strip() for number, text in rows}


class Cub200(Listed):
    """The birds; see `Listed`. Class names lose their number: "Black footed Albatross"."""

    name = "cub200"

    def read_lists(self) -> tuple[Sequence[str], Lists]:
        """Return the classes' names, and (file, label) of each picture, in the list's order."""
        classes = read_table(self.folder / "classes.txt")
        labels = read_table(self.folder / "image_class_labels.txt")
        is_train = read_table(self.folder / "train_test_split.txt")
        lists: Lists = {"train": [], "test": []}
        for number, file in read_table(self.folder / "images.txt").items():
            part = lists["train" if int(is_train[number]) else "test"]
            part.append((self.folder / "images" / file, int(labels[number]) - 1))
        return [classes[number].partition(".")[2] for number in sorted(classes)], lists
