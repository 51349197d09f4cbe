"""Make a shard of rows that are in shards already, with the same values, types and files."""

import hashlib
import os
import shutil
import tarfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sip.core import tars
from sip.core.errors import DamagedError
from sip.core.files import plain_disk_errors
from sip.core.moved import Pieces
from sip.core.uri import Place
from sip.store.place import StagePlace
from sip.store.shards import ROWS_FILE, TAR_FILE, hash_of, members, read_table

States = list[tuple[str, Any]]
BLOCK = tarfile.BLOCKSIZE  # bytes of a member's header


@dataclass(frozen=True)
class Part:
    """Rows of a shard that are to be in a new one.

    Attributes:
        shard: The place of the shard.
        keys: Keys of the rows; a shard may hold more.
    """

    shard: Place
    keys: Collection[str]


@dataclass
class Assembled:
    """A finished folder that is not published yet.

    Attributes:
        folder: The folder.
        name: Name of the shard that it is to be.
        states: Key and status of its rows; none: there is nothing to publish.
        taken: Name of each shard that rows are from -> where bytes of its tar file are now.
    """

    folder: Path
    name: str
    states: States = field(default_factory=list)
    taken: dict[str, Pieces] = field(default_factory=dict)


def assemble(
    place: StagePlace[Any], owner: str, parts: Sequence[Part], keep_named: bool = False
) -> Assembled:
    """Write a shard of rows of other shards, in their order, into the unfinished ones of a place.

    Files of their own are linked if they are on the same disk. Members of tar files are copied with
    their rows, and compared with their checksums. The name depends on nothing but the rows.

    Of a row that is in several parts, as two workers made it, one is taken. If the files of the
    other ones have the same bytes, who names them is led to that one.

    Args:
        place: Where the shard is to be published.
        owner: Prefix of the unfinished folder's name.
        parts: Shards with files of their own, or with tar files; not both.
        keep_named: Whether to take also a row that has a file, which somebody may name, and whose
            key is not among those of any part, since it counts in another shard.

    Raises:
        DamagedError: A shard is damaged; nothing is left behind.
        UserError: The disk cannot be written.
    """
    time = max(part.shard.name.partition("-")[0] for part in parts)
    folder = place.tmp / f"{owner}--joined-{time}"
    with plain_disk_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            return _Assembly(place, folder, time, keep_named).of(parts)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


class _Assembly:
    """One call of `assemble`."""

    def __init__(self, place: StagePlace[Any], folder: Path, time: str, keep_named: bool) -> None:
        self._in_tar = place.storage("files") == "webdataset"
        self._folder = folder
        self._time = time
        self._end = 0  # of what is in the tar file
        self._taken: dict[str, Pieces] = {}
        self._keep_named = keep_named
        self._keys: set[str] = set()  # of the rows that are taken sooner or later
        self._members: dict[str, tuple[str, int]] = {}  # key -> hash of a file, and its start
        # Files that are not taken: pieces of their shard, key, name and hash
        self._copies: list[tuple[Pieces, str, str, str]] = []

    def of(self, parts: Sequence[Part]) -> Assembled:
        self._keys.update(*(part.keys for part in parts))
        tables = [table for part in parts if (table := self._take(part)).num_rows]
        self._lead_copies()
        if not tables:
            return Assembled(self._folder, "", taken=self._taken)
        if self._end:
            with open(self._folder / TAR_FILE, "ab") as tar:
                tar.write(tars.END)
        # A column without any value has the null type, which becomes that of the other tables.
        table = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
        data = pa.BufferOutputStream()
        pq.write_table(table, data)
        (self._folder / ROWS_FILE).write_bytes(data.getvalue())
        name = f"{self._time}-{hash_of(data.getvalue())}"
        keys = table["key"].to_pylist()
        has_status = "status" in table.column_names
        status = table["status"].to_pylist() if has_status else [None] * len(keys)
        return Assembled(self._folder, name, list(zip(keys, status, strict=True)), self._taken)

    def _take(self, part: Part) -> pa.Table:
        """Copy the files of a part's rows; return the rows."""
        table = read_table(part.shard)
        pieces = self._taken.setdefault(part.shard.name, [])
        table = self._chosen(table, set(part.keys), pieces)
        if "file" not in table.column_names or table["file"].null_count == table.num_rows:
            return table
        rows: list[dict[str, Any]] = table.to_pylist()
        files: list[str | None] = [None] * len(rows)
        for place, row in sorted(enumerate(rows), key=_position):  # in the order of the tar file
            files[place] = self._copy(part.shard, row, pieces)
        number = table.column_names.index("file")
        return table.set_column(number, "file", pa.array(files, pa.string()))

    def _chosen(self, table: pa.Table, chosen: set[str], pieces: Pieces) -> pa.Table:
        """Return the rows of a part that are taken; note the files of the other ones."""
        keys = table["key"].to_pylist()
        if "file" in table.column_names:
            columns = (table[name].to_pylist() for name in ("file", "file_sha256"))
            rows = zip(keys, *columns, strict=True)
            files = {key: (file, sha256) for key, file, sha256 in rows if file is not None}
            if self._keep_named:
                chosen |= files.keys() - self._keys
                self._keys |= chosen
            left = ((key, *file) for key, file in files.items() if key not in chosen)
            self._copies += ((pieces, *row) for row in left)
        kept = [n for n, key in enumerate(keys) if key in chosen]
        return table.take(pa.array(kept, pa.int64())) if len(kept) < table.num_rows else table

    def _lead_copies(self) -> None:
        """Lead who names a file that was not taken to one of the same key and bytes."""
        for pieces, key, file, sha256 in self._copies:
            taken, new_start = self._members.get(key, ("", 0))
            parts = tars.split_reference(file)
            if taken == sha256 and parts:
                _, offset, size = parts
                pieces.append((offset - BLOCK, offset + size + -size % BLOCK, new_start))

    def _copy(self, shard: Place, row: dict[str, Any], pieces: Pieces) -> str | None:
        """Copy a row's file; return its name in the new shard."""
        if row["file"] is None:
            return None
        file, sha256 = str(shard / row["file"]), row["file_sha256"]
        if tars.split_reference(row["file"]):
            self._members[row["key"]] = sha256, self._end
            return self._add_entry(file, sha256, pieces)
        if self._in_tar:
            data = tars.read_checked(file, sha256)
            return self._append(members(row["file"], data, row), len(data))
        target = self._folder / row["file"]
        try:
            os.link(file, target)
        except OSError:  # another disk, a disk without links, or a file that is gone
            target.write_bytes(tars.read_checked(file, sha256))
        return str(row["file"])

    def _add_entry(self, file: str, sha256: str, pieces: Pieces) -> str:
        """Copy a member with the row behind it."""
        try:
            _, start, data = tars.entry(file)
        except (OSError, ValueError) as error:
            raise DamagedError(f"{file} is damaged ({error}); repair the store") from error
        _, _, size = tars.split_reference(file) or ("", 0, 0)
        payload = data[BLOCK : BLOCK + size]
        if hashlib.sha256(payload).hexdigest() != sha256:
            raise DamagedError(f"{file} is damaged (its checksum differs); repair the store")
        if pieces and pieces[-1][1] == start and self._end == _new_end(pieces[-1]):
            pieces[-1] = (pieces[-1][0], start + len(data), pieces[-1][2])
        else:
            pieces.append((start, start + len(data), self._end))
        return self._append(data, size)

    def _append(self, data: bytes, size: int) -> str:
        with open(self._folder / TAR_FILE, "ab") as tar:
            tar.write(data)
        start, self._end = self._end, self._end + len(data)
        return tars.reference(TAR_FILE, start, size)


def _new_end(piece: tuple[int, int, int]) -> int:
    start, end, new_start = piece
    return new_start + end - start


def _position(numbered: tuple[int, dict[str, Any]]) -> tuple[int, int]:
    number, row = numbered
    parts = tars.split_reference(row["file"] or "")
    return (parts[1] if parts else 0), number
