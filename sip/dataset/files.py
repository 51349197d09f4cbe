"""From what a split lists to `Sample` rows: opening, hashing and, where need be, writing pictures.

A split is listed first (`Entry`) and opened after the subset is chosen, so that 5 shots of a large
data set read, hash and write 5 pictures a class and no more.
"""

import errno
import hashlib
import io
import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from sip.core.errors import UserError
from sip.core.files import write_atomically
from sip.core.hashing import digest
from sip.core.image_io import MAX_BYTES, opened, size_of
from sip.core.progress import progress
from sip.dataset.base import Dataset, Sample, Split

PARTS: tuple[Split, ...] = ("train", "val", "test")
BAR_FROM = 1000  # fewer pictures are listed faster than one reads a progress bar


@dataclass(frozen=True)
class Picture:
    """A picture file: absolute path, size in px (0 x 0 where unreadable), hash of its content."""

    path: str
    width: int
    height: int
    sha256: str


@dataclass(frozen=True)
class Entry:
    """A picture that a split lists; `open` is called only if the subset holds it."""

    sample_id: str
    label: int
    open: Callable[[], Picture]

    def __post_init__(self) -> None:
        """Check that the name is one that tables, lists and pages can hold."""
        require_text(self.sample_id)


def require_text(name: str) -> None:
    """Refuse a name that is not Unicode text, such as a file's in an old encoding.

    Raises:
        UserError: It is none.
    """
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"dataset: expected names in UTF-8, came {ascii(name[:100])}; rename it"
        ) from error


def from_file(path: Path) -> Picture:
    """Open a picture that the data set ships as a file; the hash is of the file's bytes.

    An unreadable picture stays in the list: the room that needs its pixels names it and why.

    Raises:
        UserError: The file is listed, but is not there or may not be read.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # to read a pipe or a device may never end
            raise OSError(errno.EINVAL, "it is not a regular file")
        if status.st_size > MAX_BYTES:
            with path.open("rb") as stream:
                sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            return Picture(str(path.resolve()), 0, 0, sha256)
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"expected the picture {path}, which the data set lists: {error.strerror}; "
            "put the complete data set there"
        ) from error
    return Picture(str(path.resolve()), *size_of(content), hashlib.sha256(content).hexdigest())


def from_pixels(path: Path, picture: Image.Image) -> Picture:
    """Write a picture that the data set ships as an array; the hash is of its pixels."""
    if not path.exists():
        buffer = io.BytesIO()
        picture.save(buffer, format="PNG")
        write_atomically(path, buffer.getvalue(), sync=False)
    sha256 = hashlib.sha256(picture.tobytes()).hexdigest()
    return Picture(str(path.resolve()), *picture.size, sha256)


def from_bytes(folder: Path, content: bytes) -> Picture:
    """Write an encoded picture, as it is, to a file named by its hash."""
    sha256 = hashlib.sha256(content).hexdigest()
    path = folder / sha256[:2] / f"{sha256[:24]}{suffix_of(content)}"
    if not path.exists():
        write_atomically(path, content, sync=False)
    return Picture(str(path.resolve()), *size_of(content), sha256)


def suffix_of(content: bytes) -> str:
    """Return the file name's ending for an encoded picture, ".bin" if it cannot be read."""
    try:
        with opened(content) as picture:
            return f".{(picture.format or 'bin').lower()}"
    except Exception:  # on damaged files Pillow raises errors of many kinds
        return ".bin"


def to_samples(entries: Sequence[Entry], class_names: Sequence[str], split: Split) -> list[Sample]:
    """Open the entries, in their order."""
    bar = progress("dataset", len(entries), "picture") if len(entries) >= BAR_FROM else None
    rows = []
    for entry in entries:
        picture = entry.open()
        rows.append(
            Sample(
                sample_id=entry.sample_id,
                path=picture.path,
                label=entry.label,
                class_name=class_names[entry.label],
                split=split,
                width=picture.width,
                height=picture.height,
                sha256=picture.sha256,
            )
        )
        if bar is not None:
            bar.update()
    if bar is not None:
        bar.close()
    return rows


def prompt_words(names: Sequence[str], prompt_names: Mapping[str, str]) -> tuple[str, ...]:
    """Return the classes in words that fit a prompt: mapped, or with blanks for underscores.

    Raises:
        UserError: The mapping names a class that the data set does not have.
    """
    if unknown := sorted(set(prompt_names) - set(names)):
        raise UserError(
            f"dataset.prompt_names: expected names of classes, came {', '.join(unknown)}; "
            f"the classes are {', '.join(names)}"
        )
    return tuple(prompt_names.get(name, " ".join(name.split("_")).strip()) for name in names)


def require_part(split: str, parts: Collection[str]) -> None:
    """Check that the data set has this part.

    Raises:
        UserError: It has not.
    """
    if split not in parts:
        raise UserError(f"expected one of the parts {', '.join(parts)}, came {split!r}")


def missing(name: str, folder: Path, reason: object, how_to_get: str) -> UserError:
    """Return the error for a data set that is not there, or not whole; one line."""
    said = " ".join(str(reason).split())[:200]
    return UserError(
        f"expected the data set {name} in {folder.resolve()}, not found whole ({said}); "
        f"{' '.join(how_to_get.split())}"
    )


def content(dataset: Dataset) -> str:
    """Return a hash of all rows of train, val and test: what a changed folder changes."""
    return digest(
        [
            [split, sample.sample_id, sample.label, sample.sha256]
            for split in PARTS
            for sample in dataset.samples(split)
        ]
    )
