"""Image files that were decoded once: a later start reads and decodes only what is new or changed.

A file is the same if its size, times and inode are. Broken files are not remembered.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sip.core import progress
from sip.core.files import atomic_file
from sip.core.tars import split_reference
from sip.dataset.files import ImageFile

COLUMNS = (
    *("key", "size", "mtime", "ctime", "inode"),
    *("path", "width", "height", "sha256", "contrast"),
)
SETTLED = 2e9  # ns since a file was changed; before, another change may leave its times as they are


@dataclass(frozen=True)
class Stamp:
    """What changes if a file does: size in bytes, times in ns, inode."""

    size: int
    mtime: int
    ctime: int
    inode: int

    @classmethod
    def of(cls, place: str) -> "Stamp | None":
        """Return it for a file, or for the tar file of a reference; None if it cannot be read."""
        parts = split_reference(place)
        try:
            status = os.stat(parts[0] if parts else place)
        except OSError:
            return None
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


class FileIndex:
    """The index in a Parquet file.

    Args:
        file: Its path; None remembers nothing.
    """

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self._known = self._read()
        self._new: dict[str, tuple[Stamp, ImageFile]] = {}

    def get(self, place: str) -> tuple[Stamp | None, ImageFile | None]:
        """Return the stamp of a file as it is now, and what is known of it."""
        if self.file is None:
            return None, None
        stamp = Stamp.of(place)
        known = self._known.get(os.path.abspath(place))
        return stamp, known[1] if known is not None and known[0] == stamp else None

    def add(self, place: str, stamp: Stamp | None, image: ImageFile) -> None:
        """Remember a file; safe from any thread. `stamp` was taken before the file was read."""
        if stamp is None or image.error is not None:
            return
        if time.time_ns() - max(stamp.mtime, stamp.ctime) > SETTLED:
            self._new[os.path.abspath(place)] = stamp, image

    def write(self) -> None:
        """Write what is new, together with what other processes wrote; the first process does."""
        if self.file is None or not self._new or not progress.is_first:
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._known = self._read() | self._new
        self._new = {}
        columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        for key, (stamp, image) in self._known.items():
            values = {"key": key, **vars(stamp), **vars(image)}
            for name, column in columns.items():
                column.append(values[name])
        try:
            with atomic_file(self.file, sync=False) as part:
                pq.write_table(pa.table(columns), part)
        except OSError:  # a read-only folder: the next start decodes again
            return

    def _read(self) -> dict[str, tuple[Stamp, ImageFile]]:
        """Return what the file holds; nothing if it is missing or damaged."""
        if self.file is None or not self.file.is_file():
            return {}
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(self.file, columns=list(COLUMNS), use_threads=False)
            rows = zip(*(table[name].to_pylist() for name in COLUMNS), strict=True)
            return {
                key: (Stamp(*stamp), ImageFile(path, width, height, sha256, contrast=contrast))
                for key, *stamp, path, width, height, sha256, contrast in rows
            }
        except Exception:  # of a damaged file pyarrow raises errors of many kinds
            return {}
