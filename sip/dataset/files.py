"""Open the entries of a split as `Sample` rows: read, hash and, if need be, write images.

A split is listed first (`Entry`) and opened after the subset is chosen, so that 5 shots of a large
data set read, hash and write 5 images a class and no more.
"""

import errno
import hashlib
import io
import os
import stat
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from PIL import Image

from sip.core.errors import UserError
from sip.core.files import write_atomically
from sip.core.image_io import look_at, opened, small_grey
from sip.core.tars import MAX_BYTES
from sip.dataset.base import Split

PARTS: tuple[Split, ...] = ("train", "val", "test")
GENERATED = "generated"  # `kind` of a generated image in the metadata of an export
BAR_FROM = 1000  # fewer images are opened faster than a progress bar is read


class ImageFile(NamedTuple):  # in a third of a dataclass's time
    """An image file that was read.

    Attributes:
        path: Absolute; or a reference into a tar file (`sip.core.tars`).
        width, height: In px; 0 if the header cannot be read.
        sha256: Hash of the content.
        error: Why it cannot be decoded; None if it can.
        contrast: Lightest minus darkest grey level, in [0, 255].
        grey: As of `sip.core.image_io.Looked`, until the hash is made of it.
        perceptual: Hash of `sip.dataset.perceptual`; None if it is not known.
        is_several: Whether the file has further pages or frames, which are not used.
        is_ours: Whether it was written for a row, by whoever opened that; nobody else changes it.
    """

    path: str
    width: int
    height: int
    sha256: str
    error: str | None = None
    contrast: int = 255
    grey: np.ndarray | None = None
    perceptual: int | None = None
    is_several: bool = False
    is_ours: bool = False

    @classmethod
    def of(cls, path: str | Path, content: bytes, sha256: str | None = None) -> Self:
        """Return what is known of the bytes of a file; they are decoded once."""
        sha256 = sha256 or hashlib.sha256(content).hexdigest()
        seen = look_at(content)
        facts = (seen.error, seen.contrast, seen.grey, None, seen.is_several)
        return cls(str(path), seen.width, seen.height, sha256, *facts)


class Entry(NamedTuple):
    """An image that a split lists; `open` is called only if the subset contains it.

    Attributes:
        sample_id, label: As of `Sample`.
        open: Reads, hashes and decodes the image.
        place: File, or reference into a tar file, whose times tell whether the image has changed.
            Or the name of a row (`is_row`). None: it is not remembered.
        is_generated: The data set's metadata say that no camera took it.
        is_row: `open` writes a file; while that is as it was written, so is the row of this name.
    """

    sample_id: str
    label: int
    open: Callable[[], ImageFile]
    place: str | None = None
    is_generated: bool = False
    is_row: bool = False

    @classmethod
    def of_file(
        cls, sample_id: str, label: int, path: str | Path, is_generated: bool = False
    ) -> Self:
        """Return the entry of an image that the data set ships as a file."""
        path = os.fspath(path)
        return cls(sample_id, label, partial(from_file, path), path, is_generated)


def require_text(names: Sequence[str]) -> None:
    """Refuse names that are not Unicode text, which tables, lists and pages cannot hold.

    Raises:
        UserError: One is not, such as a file's in an old encoding.
    """
    try:
        "".join(names).encode()
    except UnicodeEncodeError as error:
        bad = next(name for name in names if any("\ud800" <= char <= "\udfff" for char in name))
        raise UserError(
            f"dataset: names must be in UTF-8, got {ascii(bad[:100])}; rename it"
        ) from error


def from_file(path: str | Path) -> ImageFile:
    """Open an image that the data set ships as a file; the hash is of the file's bytes.

    Raises:
        UserError: The file is listed, but is missing or may not be read.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # to read a pipe or a device may never end
            raise OSError(errno.EINVAL, "it is not a regular file")
        with open(path, "rb", buffering=0) as stream:
            if status.st_size > MAX_BYTES:
                sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
                reason = f"{status.st_size} bytes is more than {MAX_BYTES} bytes"
                return ImageFile(real_path(path), 0, 0, sha256, reason)
            content = stream.readall()
    except OSError as error:
        raise UserError(
            f"dataset: cannot read the image {path}, which the data set lists: {error.strerror}; "
            "put the complete data set there"
        ) from error
    return ImageFile.of(real_path(path), content)


def real_path(path: str | Path) -> str:
    """Return where a file lies; links in its folder's path are looked up once for the folder."""
    folder, name = os.path.split(path)
    if os.path.islink(path):
        return os.path.realpath(path)
    return os.path.join(_real_folder(os.path.abspath(folder)), name)


@lru_cache(maxsize=64)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


def from_pixels(path: Path, image: Image.Image) -> ImageFile:
    """Write an image that the data set ships as an array; the hash is of its pixels."""
    if not path.exists() or not path.stat().st_size:  # a crash may leave it empty
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        write_atomically(path, buffer.getvalue(), sync=False)
    sha256 = hashlib.sha256(image.tobytes()).hexdigest()
    grey = small_grey(image)
    return ImageFile(str(path.resolve()), *image.size, sha256, grey=grey, is_ours=True)


def from_bytes(folder: Path, content: bytes) -> ImageFile:
    """Write an encoded image, as it is, to a file named by its hash."""
    sha256 = hashlib.sha256(content).hexdigest()
    path = folder / sha256[:2] / f"{sha256[:24]}{suffix_of(content)}"
    if not path.exists() or path.stat().st_size != len(content):  # as after a crash
        write_atomically(path, content, sync=False)
    return ImageFile.of(path.resolve(), content, sha256)._replace(is_ours=True)


def suffix_of(content: bytes) -> str:
    """Return the file name's ending for an encoded image, ".bin" if it cannot be read."""
    try:
        with opened(content) as image:
            return f".{(image.format or 'bin').lower()}"
    except Exception:  # on damaged files Pillow raises errors of many kinds
        return ".bin"


def require_part(split: str, parts: Collection[str]) -> None:
    """Check that the data set has this part.

    Raises:
        UserError: It does not.
    """
    if split not in parts:
        raise UserError(f"dataset: the part must be one of {', '.join(parts)}, got {split!r}")


def missing(name: str, folder: Path, reason: object, how_to_get: str) -> UserError:
    """Return the error for a data set that is missing or incomplete; one line."""
    detail = " ".join(str(reason).split())[:200]
    return UserError(
        f"dataset: cannot read the data set {name} in {folder.resolve()}: {detail}; "
        f"{' '.join(how_to_get.split())}"
    )
