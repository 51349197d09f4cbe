"""A shard: a folder of finished rows that appears as a whole and never changes.

`rows.parquet` holds the rows, sorted as they were asked for, and next to it lie the rows' files:
each as a file of its own ("files"), or all in one tar file ("webdataset") that the library of that
name reads as it is, with each row as JSON behind its file. Either way the bytes are the same, and a
row says where its own are. A shard is written in a folder of its own and then published by its
place (`sip.store.place`): whoever looks sees all of it or nothing of it.
"""

import hashlib
import math
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from sip.core import objects, tars
from sip.core.errors import DamagedError
from sip.core.text import as_json
from sip.core.uri import Place

ROWS_FILE = "rows.parquet"
TAR_FILE = "images.tar"
Storage = Literal["files", "webdataset"]
STORAGES = get_args(Storage)
FAILED = "failed"  # the value of a row's "status" that says that its making failed
DISK_BLOCK = 4096  # bytes
ROW_BYTES = 200  # of a row in `rows.parquet`, and of its file's name in a folder, about
HASH_LENGTH = 16  # hex digits of the SHA-256 of the rows, in a shard's name


@dataclass(frozen=True)
class Counts:
    """How many rows a shard has, and how many of them failed."""

    rows: int
    failed: int


def bytes_on_disk(num: float, storage: str) -> float:
    """Return about what a file of `num` bytes takes in a shard of a storage, with its row.

    A small file is a small part of it: the rest are blocks that are not full.
    """
    if storage == "files":
        return ROW_BYTES + _whole(num, DISK_BLOCK)
    block = tarfile.BLOCKSIZE
    return ROW_BYTES + _whole(num, block) + 3 * block  # two headers, and the row as JSON


def _whole(num: float, block: int) -> int:
    return math.ceil(num / block) * block


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


def is_there(shard: Place) -> bool:
    """Return whether a shard is at its place; one in a bucket appears and goes with its rows."""
    if isinstance(shard, Path):
        return shard.exists()
    return any(there.name == ROWS_FILE for there in objects.listing(shard))


def read_columns(shard: Place, columns: list[str], cached: bool = True) -> dict[str, list[Any]]:
    """Return some columns of a shard; those that it lacks are left out.

    Args:
        shard: Its folder, or its place in an object store.
        columns: Their names.
        cached: Whether a copy of an object on this machine may be read.
    """
    with _plain_read_errors(shard), _open(shard, cached) as file:
        return file.read(columns=columns, use_threads=False).to_pydict()


def read_table(shard: Place) -> pa.Table:
    """Return all rows of a shard as they are stored; "file" is relative to it.

    Raises:
        DamagedError: They are not what was written, or not there.
    """
    with _plain_read_errors(shard), _open(shard, cached=True) as file:
        return file.read(use_threads=False)


def members(name: str, payload: bytes, row: Mapping[str, Any]) -> bytes:
    """Return a file as a member of a tar file, with the row behind it as JSON.

    Raises:
        ValueError: The key has a dot.
    """
    key = row["key"]
    if "." in key:  # webdataset takes all before the first dot for the key
        raise ValueError(f"the key {key!r} has a dot, which a tar shard's cannot have")
    text = as_json({**row, "file": name}).encode()
    return tars.member(name, payload) + tars.member(f"{key}.json", text)


def read_rows(
    shard: Place, keys: set[str], columns: Sequence[str] | None = None, cached: bool = True
) -> Iterator[dict[str, Any]]:
    """Yield the rows with these keys; "file" is the absolute path, or a reference into a tar file.

    `sip.core.tars.read_bytes` and `sip.core.image_io.read_rgb` take both.

    Args:
        shard: Its folder, or its place in an object store.
        keys: Some of its keys.
        columns: Those that are read next to the key; None: all.
        cached: Whether a copy of an object on this machine may be read.
    """
    with _plain_read_errors(shard), _open(shard, cached) as file:
        named = None if columns is None else ["key", *columns]
        table = file.read(columns=named, use_threads=False)
        if len(keys) < table.num_rows:
            positions = [i for i, key in enumerate(table["key"].to_pylist()) if key in keys]
            table = table.take(positions)
        rows = table.to_pylist()
    for row in rows:
        if row.get("file"):
            row["file"] = f"{shard}/{row['file']}"
        yield row


def count_rows(shard: Path) -> Counts | None:
    """Return how many rows a shard on a disk has; None if it cannot be read.

    The end of the Parquet file says so, without the rows; no hash is compared.
    """
    try:
        with pq.ParquetFile(shard / ROWS_FILE) as file:
            return Counts(file.metadata.num_rows, _num_failed(file))
    except (OSError, pa.ArrowException):
        return None


def _num_failed(file: pq.ParquetFile) -> int:
    """Return the number of failed rows; the column is read only if need be."""
    if "status" not in file.schema_arrow.names:
        return 0
    groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
    columns = [group.column(n) for group in groups for n in range(group.num_columns)]
    known = [column.statistics for column in columns if column.path_in_schema == "status"]
    if all(stats is not None and stats.has_min_max for stats in known) and not any(
        stats.min <= FAILED <= stats.max for stats in known
    ):
        return 0
    return file.read(columns=["status"], use_threads=False)["status"].to_pylist().count(FAILED)


def _open(shard: Place, cached: bool) -> pq.ParquetFile:
    """Open the rows of a shard; they must have the hash in its name."""
    expected = shard.name.rpartition("-")[2]
    data = tars.read_if(str(shard / ROWS_FILE), lambda data: hash_of(data) == expected, cached)
    return pq.ParquetFile(pa.BufferReader(data))


@contextmanager
def _plain_read_errors(shard: Place) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _damaged(shard, str(error)) from error


def _damaged(shard: Place, reason: str) -> DamagedError:
    return DamagedError(
        f"{shard / ROWS_FILE} should hold rows and cannot be read ({reason}); use retry=damaged, "
        f"or delete {'the folder ' if isinstance(shard, Path) else ''}{shard}: its rows will be "
        "made again"
    )


def hash_of(data: bytes | pa.Buffer) -> str:
    """Return the hash of a shard's rows that ends its name."""
    return hashlib.sha256(data).hexdigest()[:HASH_LENGTH]
