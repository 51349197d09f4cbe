"""A shard: a folder of finished rows that appears as a whole and never changes.

`rows.parquet` holds the rows, sorted as they were asked for, and next to it lie the rows' files:
each as a file of its own ("files"), or all in one tar file ("webdataset") that the library of that
name reads as it is, with each row as JSON behind its file. Either way the bytes are the same, and a
row says where its own are. A shard is written elsewhere on the same file system, brought to the
disk with `fsync`, and then renamed into place: whoever looks sees all of it or nothing of it.
"""

import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sip.core import tars
from sip.core.errors import DamagedError, UserError
from sip.core.files import fsync, plain_disk_errors, retried

ROWS_FILE = "rows.parquet"
TAR_FILE = "images.tar"
Storage = Literal["files", "webdataset"]
STORAGES = get_args(Storage)
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
HASH_LENGTH = 16  # hex digits of the SHA-256 of the rows, in a shard's name


class ShardWriter:
    """Writes one shard; rows come one by one, their files go to the disk at once.

    Args:
        tmp: Folder in which the shard is written, on the same file system as `shards`.
        shards: Folder of finished shards.
        owner: Prefix of the unfinished folder's name, which tells whose it is.
        storage: One of `STORAGES`; for millions of files a file system prefers "webdataset".

    Raises:
        UserError: There is no such storage, or the folder cannot be written.
    """

    def __init__(self, tmp: Path, shards: Path, owner: str, storage: str = "files") -> None:
        if storage not in STORAGES:
            raise UserError(f"storage: must be one of {', '.join(STORAGES)}, got {storage!r}")
        # Names sort by time, so that a row made again stands behind the failed one before it. On
        # commit, what stands behind the time becomes a hash of the rows.
        self._time = f"{time.time_ns():020d}"
        self.name = f"{self._time}-{uuid.uuid4().hex[:8]}"
        self.rows: dict[str, dict[str, Any]] = {}
        self._folder = tmp / f"{owner}--{self.name}"
        self._shards = shards
        self._in_tar = storage == "webdataset"
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
        key = row["key"]
        if "." in key:  # webdataset takes all before the first dot for the key
            raise ValueError(f"the key {key!r} has a dot, which a tar shard's cannot have")
        start = self._end()
        text = json.dumps(row | {"file": name}, ensure_ascii=False).encode()
        with open(self._folder / TAR_FILE, "r+b" if self._ends else "wb") as file:
            file.seek(start)
            file.write(tars.member(name, payload) + tars.member(f"{key}.json", text))
            end = file.tell()
        self._ends.pop(key, None)  # kept in the order of writing
        self._ends[key] = end
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
        shutil.rmtree(self._folder, ignore_errors=True)

    def _commit(self, order: Sequence[str]) -> None:
        if not self.rows or (self._shards / self.name).exists():
            self.discard()
            return
        with plain_disk_errors(self._shards):
            rows = [self.rows[key] for key in order if key in self.rows]
            data = pa.BufferOutputStream()
            pq.write_table(to_table(rows), data)
            (self._folder / ROWS_FILE).write_bytes(data.getvalue())
            self.name = f"{self._time}-{_hash(data.getvalue())}"
            keep = {ROWS_FILE, *(row["file"] for row in rows if row.get("file"))}
            if self._close_tar():
                keep.add(TAR_FILE)
            for file in self._folder.iterdir():
                if file.name in keep:
                    fsync(file)
                else:  # a file whose writing was interrupted
                    file.unlink()
            fsync(self._folder)
            retried(self._rename)
            fsync(self._shards)

    def _rename(self) -> None:
        """Give the shard its place; a rename that a network disk did and denied is done."""
        place = self._shards / self.name
        try:
            os.rename(self._folder, place)
        except FileNotFoundError:
            if not place.is_dir():
                raise

    def _close_tar(self) -> bool:
        """Cut the tar file behind the last finished row and end it; say whether there is one."""
        if end := self._end():
            with open(self._folder / TAR_FILE, "r+b") as file:
                file.truncate(end)
                file.seek(end)
                file.write(tars.END)
        return end > 0

    def _end(self) -> int:
        """Return where the last finished row's members end."""
        return next((end for key, end in reversed(self._ends.items()) if key in self.rows), 0)


def to_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return rows as a table with the union of their columns; what a row lacks is null.

    A column's type comes from all of its values, not from the first row; one without any value has
    the null type, which joins any type when tables are read together.
    """
    columns = dict.fromkeys(column for row in rows for column in row)
    arrays: dict[str, pa.Array] = {}
    for column in columns:
        values = [row.get(column) for row in rows]
        try:
            arrays[column] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            kinds = sorted({type(value).__name__ for value in values if value is not None})
            raise TypeError(f"column {column!r} mixes {', '.join(kinds)}: {error}") from error
    return pa.table(arrays)


def read_columns(shard: Path, columns: list[str]) -> dict[str, list[Any]]:
    """Return some columns of a shard; those that it lacks are left out."""
    with _plain_read_errors(shard), _open(shard) as file:
        there = [column for column in columns if column in file.schema_arrow.names]
        return file.read(columns=there, use_threads=False).to_pydict()


def read_rows(shard: Path, keys: set[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows with these keys; "file" is the absolute path, or a reference into a tar file.

    `sip.core.tars.read_bytes` and `sip.core.image_io.read_rgb` take both.
    """
    with _plain_read_errors(shard), _open(shard) as file:
        table = file.read(use_threads=False)
        if len(keys) < table.num_rows:
            positions = [i for i, key in enumerate(table["key"].to_pylist()) if key in keys]
            table = table.take(positions)
        rows = table.to_pylist()
    for row in rows:
        if row.get("file"):
            row["file"] = str(shard / row["file"])
        yield row


def _open(shard: Path) -> pq.ParquetFile:
    """Open the rows of a shard; they must have the hash in its name."""
    data = (shard / ROWS_FILE).read_bytes()
    if shard.name.rpartition("-")[2] != _hash(data):
        raise _damaged(shard, "its checksum is not the one that it was written with")
    return pq.ParquetFile(pa.BufferReader(data))


@contextmanager
def _plain_read_errors(shard: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise _damaged(shard, str(error)) from error


def _damaged(shard: Path, reason: str) -> DamagedError:
    return DamagedError(
        f"{shard / ROWS_FILE} should hold rows and cannot be read ({reason}); use retry=damaged, "
        f"or delete the folder {shard}: its rows will be made again"
    )


def _hash(data: bytes | pa.Buffer) -> str:
    return hashlib.sha256(data).hexdigest()[:HASH_LENGTH]


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
