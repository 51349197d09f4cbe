"""Files that a run folder holds or names.

A run folder may be somebody else's. Nothing outside of the store and the run is read because a run
says so: a generated image lies in the store, and every image has the content that the run recorded,
so a run cannot have a file shown or copied whose content its author does not know already.
"""

import hashlib
import json
import math
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from sip.core.errors import DamagedError, UserError
from sip.core.image_io import decoded, opened
from sip.core.tars import read_bytes, reference_to, split_reference
from sip.core.uri import Place, Uri, is_uri, joined

REMEDY = "the run is damaged: delete its folder, and run it again"
MAX_RECORD = 2**28  # bytes of a summary or a configuration
MAX_TABLE = 2**32  # bytes of a Parquet file


@dataclass(frozen=True)
class ListedImage:
    """An image on a run's list.

    Attributes:
        file: Path, or reference into a tar file (`sip.core.tars`).
        sha256: Checksum of the file, or of an original's pixels if its data set ships arrays.
        is_generated: Whether it lies in the store.
    """

    file: str
    sha256: str
    is_generated: bool

    def content(self) -> bytes:
        """Return the file's bytes, which are those that the run recorded.

        Raises:
            DamagedError: They are not, or the file is missing, not regular or too large.
        """
        try:
            data = read_bytes(self.file)
        except (OSError, ValueError) as error:
            raise self._damaged(str(error)) from error
        if hashlib.sha256(data).hexdigest() != self.sha256 and not self._has_pixels(data):
            raise self._damaged("its SHA-256 is not the one in the run's list")
        return data

    def rgb(self) -> Image.Image:
        """Return the image as the pipeline sees it: upright RGB.

        Raises:
            DamagedError: As `content`, or it is not an image that can be decoded.
        """
        try:
            return decoded(self.content())
        except ValueError as error:
            raise self._damaged(str(error)) from error

    def _has_pixels(self, data: bytes) -> bool:
        """Return whether this is an original whose pixels have the checksum."""
        if self.is_generated:
            return False
        try:
            with opened(data) as image:
                return hashlib.sha256(image.tobytes()).hexdigest() == self.sha256
        except Exception:  # on damaged files Pillow raises errors of many kinds
            return False

    def _damaged(self, reason: str) -> DamagedError:
        kind = "generated image" if self.is_generated else "original"
        fix = "generate it again with retry=damaged" if self.is_generated else "put it back"
        return DamagedError(f"images.parquet: the {kind} {self.file} is damaged ({reason}); {fix}")


def listed_image(
    store: Place, row: Mapping[str, Any], resolve: Callable[[str], str] = os.path.realpath
) -> ListedImage | None:
    """Return the image of a row of `images.parquet`; None if it has none.

    Args:
        store: The store; a row's "file" is relative to it.
        row: A row with "kind", "file" and "sha256".
        resolve: As that of `file_in_store`.

    Raises:
        UserError: A generated image's file is not in the store, or has no checksum.
    """
    file, sha256 = row["file"], row["sha256"]
    if file is None:
        return None
    is_generated = row["kind"] != "real"
    if not sha256:
        raise UserError(
            f"images.parquet: sha256: must be the checksum of {file!r}, got none; {REMEDY}"
        )
    place = file_in_store(store, file, resolve) if is_generated else joined(store, file)
    return ListedImage(place, sha256, is_generated)


def file_in_store(store: Place, file: str, resolve: Callable[[str], str] = os.path.realpath) -> str:
    """Return the place of a file that a run names, symbolic links resolved.

    Args:
        store: The store; a folder may be a link itself.
        file: Path, or reference into a tar file, relative to it.
        resolve: Resolves the links of a path; one that remembers it for a while is quicker.

    Raises:
        UserError: It is absolute, or leaves the store, by ".." or by a link.
    """
    path, *member = split_reference(file) or (file,)
    if isinstance(store, Uri):
        if is_uri(file) or not set(path.split("/")).isdisjoint(("", ".", "..")):
            raise UserError(
                f"images.parquet: file: must be a path in the store {store}, got {file!r}; {REMEDY}"
            )
        return joined(store, file)
    root = resolve(str(store))
    place = resolve(os.path.join(root, path)) if "\0" not in path else ""
    if os.path.isabs(path) or not place.startswith(root.rstrip(os.sep) + os.sep):
        raise UserError(
            f"images.parquet: file: must be a path in the store {store}, got {file!r}; use a store "
            "without links to other folders, or another run"
        )
    return reference_to(place, member[0], member[1]) if member else place


def require_run_file(file: Path, at_most: int) -> Path:
    """Check that a file of a run folder is one that may be read.

    Args:
        file: A file in the run folder; the folder may be a link.
        at_most: Bytes.

    Raises:
        UserError: It is missing, not regular, larger, or a link to somewhere else.
    """
    try:
        status = file.stat()
        target = file.resolve(strict=True)
        if target.parent != file.parent.resolve():
            raise ValueError("it is a link to another folder")
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a regular file")
        if status.st_size > at_most:
            raise ValueError(f"{status.st_size:,} bytes is more than {at_most:,} bytes")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{file}: must be a file of a run ({reason}); {REMEDY}") from error
    return file


def pairs_of(text: Any) -> list[tuple[str, float]] | None:
    """Return the pairs of a text and a finite number that a row holds as JSON; None for others."""
    try:
        pairs = [(words, float(number)) for words, number in json.loads(text or "[]")]
    except (ValueError, TypeError, RecursionError):
        return None
    sound = all(isinstance(words, str) and math.isfinite(number) for words, number in pairs)
    return pairs if sound else None


def one_line(value: object) -> str:
    """Return the start of a text, or of an error's message, in one line."""
    return " ".join(str(value).split())[:200] or type(value).__name__
