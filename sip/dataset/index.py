"""Image files that were decoded once: a later start reads and decodes only what is new or changed.

A data set has one Arrow file of its own, with a row an image and a checksum behind them. An image
is the same if its file's size, times and inode are. Broken files are not remembered. All is in
columns: a data set may have millions of images, and a start looks up all of them.
"""

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from sip.core.progress import say
from sip.core.tars import split_reference
from sip.core.text import reason_of
from sip.dataset.arrow_files import read_arrow, write_arrow
from sip.dataset.files import Entry, ImageFile

STAMP = ("size", "mtime", "ctime", "inode")  # what changes if a file does; bytes, and times in ns
FACTS = ("path", "width", "height", "sha256", "contrast", "perceptual", "is_several")
SETTLED = 2e9  # ns since a file was changed; before, another change may leave its times as they are
LOOKED_AT_ONCE = 1000  # files
SLOW = 1e-4  # s a file; a local disk takes less, and threads that wait for each other cost more
NO_FILE = (-1, -1, -1, -1)  # the stamp of what is not there; it is never remembered
INODE_BITS = 2**63 - 1


def stamp_of(place: str) -> tuple[int, int, int, int]:
    """Return the stamp of a file, or of a reference's tar file; `NO_FILE` if it is not there."""
    parts = split_reference(place) if "::" in place else None
    try:
        status = os.stat(parts[0] if parts else place)
    except (OSError, ValueError):
        return NO_FILE
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino & INODE_BITS


def _stamps(places: Sequence[str]) -> np.ndarray:
    tars: dict[str, tuple[int, int, int, int]] = {}  # one look at a tar file is enough
    stamps = []
    for place in places:
        parts = split_reference(place) if "::" in place else None  # a file's name may have it too
        if parts is None:
            stamps.append(stamp_of(place))
            continue
        if parts[0] not in tars:
            tars[parts[0]] = stamp_of(place)
        stamps.append(tars[parts[0]])
    return np.array(stamps, np.int64).reshape(-1, len(STAMP))


def _all_stamps(places: Sequence[str], threads: Any) -> np.ndarray:
    """Return the stamps, (N, 4); by several threads if the file system takes its time."""
    started = time.perf_counter()
    stamps = [_stamps(places[:LOOKED_AT_ONCE])]
    is_slow = time.perf_counter() - started > SLOW * len(stamps[0])
    rest = range(LOOKED_AT_ONCE, len(places), LOOKED_AT_ONCE)
    parts = (places[start : start + LOOKED_AT_ONCE] for start in rest)
    stamps += threads.map(_stamps, parts) if is_slow else map(_stamps, parts)
    return np.concatenate(stamps)


class FileIndex:
    """What is known of the images of one data set.

    Args:
        file: Its file, an Arrow stream and its SHA-256; None remembers nothing.
    """

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self._table = self._read()
        self._new: dict[str, tuple[int | str | None, ...]] = {}

    def look_up(self, entries: Sequence[Entry], threads: Any) -> tuple[np.ndarray, list[Any]]:
        """Return the stamps of the entries' files, (N, 4), and what is known: `ImageFile` or None.

        Args:
            entries: To look up.
            threads: A `ThreadPoolExecutor`: on a network disk, each look takes its time.
        """
        known: list[Any] = [None] * len(entries)
        stamps = np.full((len(entries), len(STAMP)), -1, np.int64)
        if self.file is None:
            return stamps, known
        import pyarrow as pa
        import pyarrow.compute as pc

        here = os.getcwd()
        keys = pa.array([_key(entry, here) for entry in entries], pa.string())
        rows = pc.index_in(keys, value_set=self._table["key"]).fill_null(-1).to_numpy()
        places = [entry.place or "" for entry in entries]
        for number, entry in enumerate(entries):
            if entry.is_row:  # what is remembered is the file that was written for it
                row = int(rows[number])
                places[number] = self._table["path"][row].as_py() if row >= 0 else ""
        stamps = _all_stamps(places, threads)
        old = np.stack([self._table[name].to_numpy() for name in STAMP], axis=1)
        is_same = rows >= 0
        is_same[is_same] = (old[rows[is_same]] == stamps[is_same]).all(axis=1)
        same = np.flatnonzero(is_same).tolist()
        for number, file in zip(same, self._files(rows[is_same]), strict=True):
            known[number] = file
        return stamps, known

    def _files(self, rows: np.ndarray) -> Iterator[ImageFile]:
        """Yield what rows of the table say."""
        table = self._table.select(FACTS).take(rows)
        columns = [table[name].to_numpy().tolist() for name in FACTS]
        for path, width, height, sha256, contrast, *rest in zip(*columns, strict=True):
            yield ImageFile(path, width, height, sha256, None, contrast, None, *rest)

    def add(self, entry: Entry, stamp: Sequence[int], image: ImageFile) -> None:
        """Remember an image; `stamp` is from before it was read."""
        if self.file is None or not entry.place or image.error is not None:
            return
        if entry.is_row:
            stamp = stamp_of(image.path)
        size, mtime, ctime, inode = map(int, stamp)
        is_settled = image.is_ours or time.time_ns() - max(mtime, ctime) > SETTLED
        if size >= 0 and is_settled and image.perceptual is not None:
            facts = (getattr(image, name) for name in FACTS)
            self._new[_key(entry, os.getcwd())] = (size, mtime, ctime, inode, *facts)

    def write(self) -> None:
        """Write what is new, together with what other processes wrote."""
        if self.file is None or not self._new:
            return
        import pyarrow as pa
        import pyarrow.compute as pc

        columns = [list(self._new), *map(list, zip(*self._new.values(), strict=True))]
        pairs = zip(columns, _schema(), strict=True)
        new = pa.table({kind.name: pa.array(values, kind.type) for values, kind in pairs})
        keys = new["key"].combine_chunks()
        old = self._read()
        old = old.filter(pc.invert(pc.is_in(old["key"], value_set=keys)))
        self._table, self._new = pa.concat_tables([old, new]).combine_chunks(), {}
        with suppress(OSError):  # a read-only folder is no obstacle
            write_arrow(self.file, self._table)

    def refresh(self) -> None:
        """Read what other processes have written."""
        self._table = self._read()

    def _read(self) -> Any:
        """Return the file's table; an empty one if it is missing or damaged."""
        if self.file is None:
            return None
        import pyarrow as pa

        if self.file.is_file():
            try:
                table = read_arrow(self.file, _schema())
                if table is not None:  # else another version's, which is replaced
                    return table
            except Exception as error:  # of a file of another version pyarrow raises many kinds
                self._set_aside(error)
        return pa.table({kind.name: pa.array([], kind.type) for kind in _schema()})

    def _set_aside(self, error: Exception) -> None:
        assert self.file is not None
        with suppress(OSError):
            aside = self.file.with_suffix(".damaged")
            os.replace(self.file, aside)
            reason = reason_of(error)[:100]
            text = f"{self.file} is damaged ({reason}) and now {aside.name}"
            say("dataset", f"{text}: the images are decoded again")

    @contextmanager
    def only_here(self) -> Iterator[None]:
        """Hold other processes back meanwhile; they then read what this one has written.

        Without effect where the folder is read-only, or the file system has no locks.
        """
        if self.file is None:
            yield
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            lock = open(self.file.with_suffix(".lock"), "a")  # noqa: SIM115
        except OSError:
            yield
            return
        with lock:  # closing the file drops the lock, as the holder's death does
            with suppress(OSError):
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    say("dataset", "waiting for another process that decodes the images")
                    fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _key(entry: Entry, here: str) -> str:
    """Return the name under which an image is remembered; empty if it is not.

    Args:
        entry: The image.
        here: The folder that relative paths start from.
    """
    place = entry.place or ""
    return place if not place or entry.is_row or place[0] == os.sep else os.path.join(here, place)


def _schema() -> Any:
    import pyarrow as pa

    kinds = {"key": pa.string(), **dict.fromkeys(STAMP, pa.int64())}
    kinds |= {"path": pa.string(), "width": pa.int32(), "height": pa.int32(), "sha256": pa.string()}
    kinds |= {"contrast": pa.int16(), "perceptual": pa.uint64(), "is_several": pa.bool_()}
    return pa.schema(kinds)
