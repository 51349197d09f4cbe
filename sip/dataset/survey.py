"""What a data set holds, without writing any of its images: rows of each part, broken files."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

from sip.core.text import counted, join_first
from sip.dataset.base import Sample, Split
from sip.dataset.files import PARTS, Entry, ImageFile
from sip.dataset.index import FileIndex
from sip.dataset.reader import NUM_SHOWN, Reader, open_all

MOST_CLASSES = 12  # that `per_class` lists one by one
UNOPENED = ImageFile("", 0, 0, "")


@dataclass(frozen=True)
class Survey:
    """What a data set holds.

    Attributes:
        class_names: In the order of the labels.
        parts: The readable rows of each part. Images that are not files (arrays, rows of tables)
            are listed only, with size 0 and no hash: opening them would write files.
        broken: sample_id -> reason of each image that cannot be decoded.
    """

    class_names: Sequence[str]
    parts: dict[Split, Sequence[Sample]]
    broken: dict[str, str]

    @classmethod
    def of(cls, dataset: Reader) -> "Survey":
        """Decode the files of a data set that its index does not know.

        Raises:
            UserError: The data are missing, or not as they must be.
        """
        parts: dict[Split, Sequence[Sample]] = {}
        broken: dict[str, str] = {}
        for part in PARTS:
            parts[part], bad = dataset.readable(part, open_files)
            broken |= bad
        return cls(dataset.class_names, parts, broken)

    @property
    def is_decoded(self) -> bool:
        """Whether all images were decoded, now or before."""
        return all(sample.sha256 for rows in self.parts.values() for sample in rows)

    def broken_names(self) -> str:
        """Return the first broken images with their reasons."""
        return join_first([f"{name} ({why})" for name, why in self.broken.items()], NUM_SHOWN)

    def sizes(self) -> str:
        """Return the number of classes and of images of each part in words."""
        parts = ", ".join(f"{part} {len(rows):,}" for part, rows in self.parts.items())
        return f"{counted(len(self.class_names), 'class', 'classes')}; images: {parts}"

    def per_class(self) -> str:
        """Return the images of each class as train/val/test; of many classes, the smallest."""
        counts = {part: Counter(row.label for row in rows) for part, rows in self.parts.items()}
        numbers = [
            [counts[part][label] for part in PARTS] for label in range(len(self.class_names))
        ]
        order = sorted(range(len(numbers)), key=lambda label: sum(numbers[label]))
        if len(order) <= MOST_CLASSES:
            order.sort()
        shown = [f"{self.class_names[n]} {'/'.join(map(str, numbers[n]))}" for n in order]
        most = "" if len(shown) <= MOST_CLASSES else "smallest first, "
        return f"{most}{'/'.join(PARTS)}: {join_first(shown, MOST_CLASSES)}"


def open_files(entries: Sequence[Entry], index: FileIndex) -> list[ImageFile]:
    """Open the entries that are files, in their order; the rest stays unopened."""
    are_files = [bool(entry.place) and not entry.is_row for entry in entries]
    opened = iter(open_all([*compress(entries, are_files)], index))
    return [next(opened) if is_file else UNOPENED for is_file in are_files]
