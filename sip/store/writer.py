"""Writing a shard: rows come one by one, and it appears as a whole (`sip.store.shards`)."""

import hashlib
import re
import shutil
import time
import uuid
import weakref
from collections.abc import Mapping, Sequence
from io import FileIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sip.core import tars
from sip.core.errors import UserError
from sip.core.files import plain_disk_errors, write_at
from sip.store.place import StagePlace
from sip.store.shards import ROWS_FILE, STORAGES, TAR_FILE, hash_of, members, to_table

FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


class ShardWriter:
    """Writes one shard; rows come one by one, their files go to the disk at once.

    Args:
        place: Where the shard is to appear.
        owner: Prefix of the unfinished folder's name, which tells whose it is.
        storage: One of `STORAGES`; for millions of files a file system prefers "webdataset".

    Raises:
        UserError: There is no such storage, or the folder cannot be written.
    """

    def __init__(self, place: StagePlace[Any], owner: str, storage: str = "files") -> None:
        if storage not in STORAGES:
            raise UserError(f"storage: must be one of {', '.join(STORAGES)}, got {storage!r}")
        # Names sort by time, so that a row made again stands behind the failed one before it. On
        # commit, what stands behind the time becomes a hash of the rows.
        self._time = f"{time.time_ns():020d}"
        self.name = f"{self._time}-{uuid.uuid4().hex[:8]}"
        self.rows: dict[str, dict[str, Any]] = {}
        self._folder = place.tmp / f"{owner}--{self.name}"
        self._place = place
        self._in_tar = place.storage(storage) == "webdataset"
        self._tar: FileIO | None = None
        self._ends: dict[str, int] = {}  # key -> where its members end in the tar file
        with plain_disk_errors(self._folder):
            self._folder.mkdir(parents=True)

    def add(self, row: Mapping[str, Any]) -> None:
        """Take a finished row; its "payload" is stored as the file, or member, `<key><suffix>`.

        A row that failed gives None as payload, so that it has the same columns as other rows.
        """
        stored = {k: v for k, v in row.items() if k not in ("payload", "suffix")}
        payload = row.get("payload")
        if "payload" in row:
            stored |= {"file": None, "file_sha256": None}
        for column, value in stored.items():
            _check_value(column, value)
        if payload is not None:
            name = f"{row['key']}{row['suffix']}"
            if not FILE_NAME.fullmatch(name):
                raise ValueError(f"the key and suffix {name!r} make no file name")
            stored["file_sha256"] = hashlib.sha256(payload).hexdigest()
            store = self._add_member if self._in_tar else self._add_file
            with plain_disk_errors(self._folder):
                stored["file"] = store(name, payload, stored)
        self.rows[row["key"]] = stored

    def _add_file(self, name: str, payload: bytes, row: dict[str, Any]) -> str:
        (self._folder / name).write_bytes(payload)
        return name

    def _add_member(self, name: str, payload: bytes, row: dict[str, Any]) -> str:
        """Write behind the last finished row's members, over those of an interrupted `add`."""
        key, data = row["key"], members(name, payload, row)
        start = self._end()
        if self._tar is None:
            self._tar = open(self._folder / TAR_FILE, "wb", buffering=0)  # noqa: SIM115
            weakref.finalize(self, self._tar.close)  # of a shard that is given up
        write_at(self._tar.fileno(), data, start)
        self._ends.pop(key, None)  # kept in the order of writing
        self._ends[key] = start + len(data)
        return tars.reference(TAR_FILE, start, len(payload))

    def commit(self, order: Sequence[str]) -> None:
        """Make the shard visible, rows in the order of keys `order`.

        A shard without rows leaves nothing behind, nor does one that cannot be written.
        """
        try:
            self._commit(order)
        except KeyboardInterrupt:  # these rows are finished: an interrupt must not cost them
            self._commit(order)
            raise
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove what is not committed."""
        if self._tar is not None:
            self._tar.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _commit(self, order: Sequence[str]) -> None:
        if not self.rows or self._place.has(self.name):
            self.discard()
            return
        rows = [self.rows[key] for key in order if key in self.rows]
        with plain_disk_errors(self._place.work):
            if self._folder.is_dir():  # else an interrupted call has handed it over
                self._finish(rows)
            states = [(row["key"], row.get("status")) for row in rows]
            self._place.publish(self._folder, self.name, states)

    def _finish(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the rows, and leave nothing in the folder that is not theirs."""
        data = pa.BufferOutputStream()
        pq.write_table(to_table(rows), data)
        (self._folder / ROWS_FILE).write_bytes(data.getvalue())
        self.name = f"{self._time}-{hash_of(data.getvalue())}"
        keep = {ROWS_FILE, *(row["file"] for row in rows if row.get("file"))}
        if self._close_tar():
            keep.add(TAR_FILE)
        for file in self._folder.iterdir():
            if file.name not in keep:  # a file whose writing was interrupted
                file.unlink()

    def _close_tar(self) -> bool:
        """Cut the tar file behind the last finished row and end it; say whether there is one."""
        if self._tar is not None:
            self._tar.close()
        if end := self._end():
            with open(self._folder / TAR_FILE, "r+b") as file:
                file.truncate(end)
                file.seek(end)
                file.write(tars.END)
        return end > 0

    def _end(self) -> int:
        """Return where the last finished row's members end."""
        return next((end for key, end in reversed(self._ends.items()) if key in self.rows), 0)


def _check_value(column: str, value: Any) -> None:
    if value is None or isinstance(value, str | int | float):  # bool is an int
        return
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype == np.float32:
        return  # a vector, in half of the space of a list of floats; it is read as such a list
    raise TypeError(
        f"column {column!r}: must be str, int, float, bool, None, a list of them or a float32 "
        f"vector, got {type(value).__name__}: {str(value)[:80]}"
    )
