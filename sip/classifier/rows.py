"""The training images of a run as columns: a few bytes of each are in memory."""

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np

from sip.augmentation.base import SourceNumbers
from sip.classifier.base import LabelledImage, TrainingImage
from sip.core.errors import UserError
from sip.core.spill import KeyNumbers, Spilled

SHA256 = re.compile("[0-9a-f]{64}")
HASH_SIZE = 32  # bytes of a SHA-256
# Attributes of a generated image, with what most have.
OPTIONAL = {"probability": None, "source_label": None, "label_share": 1.0}
STRANGER = -2  # in place of the position of an original that is not among the real images


class PathTexts:
    """Paths in the order of their writing; what is before the last slash is kept once."""

    def __init__(self) -> None:
        self._folders: dict[str, int] = {}
        self._names: list[str] = []  # of the folders
        self._in = array("I")  # number of each text's folder
        self._ends = array("Q", [0])
        self._bytes = bytearray()

    def append(self, text: str) -> None:
        """Add a text."""
        folder, slash, name = text.rpartition("/")
        number = self._folders.setdefault(folder + slash, len(self._names))
        if number == len(self._names):
            self._names.append(folder + slash)
        self._in.append(number)
        self._bytes += name.encode("utf-8", "surrogateescape")
        self._ends.append(len(self._bytes))

    def __getitem__(self, position: int) -> str:
        name = self._bytes[self._ends[position] : self._ends[position + 1]]
        return self._names[self._in[position]] + name.decode("utf-8", "surrogateescape")


class TrainingRow:
    """One image of `TrainingRows`, with the attributes of a `Sample` or of a `TrainingImage`."""

    __slots__ = ("_position", "_rows")

    def __init__(self, rows: "TrainingRows", position: int) -> None:
        self._rows, self._position = rows, position

    @property
    def sample_id(self) -> str:
        """Unique within its split; read from the disk."""
        return self._rows.ids[self._position]

    @property
    def path(self) -> str:
        """Path of the image file."""
        return self._rows.paths[self._position]

    @property
    def label(self) -> int:
        """Class index."""
        return self._rows.labels[self._position]

    @property
    def source(self) -> str | None:
        """The `sample_id` of its original; None for a real image; read from the disk."""
        number = self._position - self._rows.num_real
        return None if number < 0 else self._rows.originals[number]

    @property
    def sha256(self) -> str | None:
        """Content hash of a real image; None for a generated one."""
        return None if self._position >= self._rows.num_real else self._hash()

    @property
    def file_sha256(self) -> str | None:
        """Hash of a generated image's file; None for a real one."""
        return None if self._position < self._rows.num_real else self._hash()

    def _hash(self) -> str | None:
        return self._rows.hash_of(self._position)

    @property
    def probability(self) -> float | None:
        """As of `TrainingImage`."""
        return self._optional("probability")

    @property
    def source_label(self) -> int | None:
        """As of `TrainingImage`."""
        return self._optional("source_label")

    @property
    def label_share(self) -> float:
        """As of `TrainingImage`."""
        return self._optional("label_share")

    def _optional(self, name: str) -> Any:
        column = self._rows.optional.get(name)
        return OPTIONAL[name] if column is None else column[self._position]


class TrainingRows(Sequence[LabelledImage]):
    """Real images, then the generated ones, as `sip.classifier.train` takes them.

    Args:
        real: Samples.
        generated: Images that were generated from them, or from other ones.

    Attributes:
        ids: The `sample_id` of each image; on the disk.
        originals: The `sample_id` of each generated image's original; on the disk.
        paths, labels: Path and class of each image.
        num_real: Number of real images.
        sources: Position of each image's original.
        strangers: Positions of generated images whose originals are not among the real ones.
        optional: Attribute -> the value of each image, of those in `OPTIONAL` that an image has.
    """

    def __init__(self, real: Iterable[Any], generated: Iterable[TrainingImage] = ()) -> None:
        self.ids, self.originals = Spilled[str](), Spilled[str | None]()
        self.paths, self.labels = PathTexts(), array("i")
        self.optional: dict[str, list[Any]] = {}
        self._hashes = bytearray()
        self._other_hashes: dict[int, str | None] = {}  # those that are no SHA-256
        positions = KeyNumbers()
        for row in real:
            positions[row.sample_id] = len(self.labels)
            self._add(row, row.sha256)
        self.num_real = len(self.labels)
        numbers = array("i", [-1]) * self.num_real
        for image in generated:
            source = image.source
            numbers.append(-1 if source is None else positions.get(source, STRANGER))
            self._add_optional(image)
            self._add(image, image.file_sha256)
            self.originals.append(source)
        self.sources = SourceNumbers(np.frombuffer(numbers, np.int32))
        self.strangers = np.flatnonzero(self.sources.numbers == STRANGER).tolist()

    def _add(self, row: LabelledImage, sha256: str | None) -> None:
        if sha256 is not None and SHA256.fullmatch(sha256):
            self._hashes += bytes.fromhex(sha256)
        else:
            self._other_hashes[len(self.labels)] = sha256
            self._hashes += bytes(HASH_SIZE)
        self.ids.append(row.sample_id)
        self.paths.append(row.path)
        self.labels.append(row.label)

    def _add_optional(self, image: TrainingImage) -> None:
        for name, default in OPTIONAL.items():
            value = getattr(image, name)
            if value != default and name not in self.optional:
                self.optional[name] = [default] * len(self.labels)
            if name in self.optional:
                self.optional[name].append(value)

    def hash_of(self, position: int) -> str | None:
        """Return the hash of an image's content, or of its file."""
        if position in self._other_hashes:
            return self._other_hashes[position]
        start = position * HASH_SIZE
        return self._hashes[start : start + HASH_SIZE].hex()

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, position: int) -> TrainingRow: ...

    @overload
    def __getitem__(self, position: slice) -> list[TrainingRow]: ...

    def __getitem__(self, position: int | slice) -> TrainingRow | list[TrainingRow]:
        numbers = range(len(self))[position]  # as of a list, also if it is outside
        if isinstance(numbers, range):
            return [TrainingRow(self, number) for number in numbers]
        return TrainingRow(self, numbers)

    def __iter__(self) -> Iterator[TrainingRow]:
        return (TrainingRow(self, number) for number in range(len(self)))


def column(rows: Sequence[LabelledImage], name: str, default: Any = None) -> Sequence[Any]:
    """Return an attribute of each image; `default` of those that have none."""
    if isinstance(rows, TrainingRows):
        if name == "label":
            return rows.labels
        if name in OPTIONAL and name not in rows.optional:
            return [default] * len(rows)
    return [getattr(row, name, default) for row in rows]


def sources(rows: Sequence[LabelledImage]) -> Sequence[int | None]:
    """Return the position of each generated image's original, None for the real ones.

    A generated row has a `source`, its original's `sample_id`.

    Raises:
        UserError: An original is not among the rows: its image would leak into the training.
    """
    if isinstance(rows, TrainingRows):
        _require_known([rows[number] for number in rows.strangers])
        return rows.sources
    names = column(rows, "source")
    real = {
        row.sample_id: position
        for position, (row, name) in enumerate(zip(rows, names, strict=True))
        if name is None
    }
    pairs = zip(rows, names, strict=True)
    _require_known([row for row, name in pairs if name is not None and name not in real])
    return [None if name is None else real[name] for name in names]


def _require_known(strangers: Sequence[LabelledImage]) -> None:
    if strangers:
        shown = ", ".join(row.path for row in strangers[:3])
        raise UserError(
            f"classifier: generated images must be of images in train, got {len(strangers)} of "
            f"other images ({shown}); generate from the same split and subset"
        )
