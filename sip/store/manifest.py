"""The manifest of a stage in an object store: which shards there are, and the keys of their rows.

    manifest/<shard>.parquet        one shard's; written behind its rows
    manifest/all-<hash>.parquet     those of many shards, which take the place of the single ones

Its objects never change, so each is read once; a look at what is new is one short listing, however
many shards there are. It is no more than a copy of what the shards hold. A writer that died behind
a shard leaves it without an entry, and one that was set aside has one too many: `sip.store.bucket`
adds the former, and drops the latter.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sip.core import objects
from sip.core.errors import UserError
from sip.core.uri import Uri

FOLDER = "manifest"
SUFFIX = ".parquet"
ALL = "all-"  # how the names of objects with many shards begin
FOLD_AFTER = 64  # objects, from which on they are made one
THREADS = 16  # requests at a time
States = list[tuple[str, Any]]


class Manifest:
    """The manifest as one process has read it.

    Args:
        stage: The place of the stage.

    Attributes:
        entries: Shard -> key and status of its rows; those that nobody has taken yet.
        shards: All shards that have an entry.
    """

    def __init__(self, stage: Uri) -> None:
        self.folder = stage / FOLDER
        self.entries: dict[str, States] = {}
        self.shards: set[str] = set()
        self._read: set[str] = set()  # names of objects
        self._there: set[str] = set()  # those of the last look

    def refresh(self) -> None:
        """Read what is new."""
        while True:
            self._there = {there.name for there in objects.listing(self.folder)}
            new = sorted(self._there - self._read)
            with ThreadPoolExecutor(THREADS, "manifest") as threads:
                found = list(threads.map(self._content, new))
            for name, content in zip(new, found, strict=True):
                if content is not None:
                    self._read.add(name)
                    self._add(content)
            if None not in found:  # else another process has just made many objects one
                return

    def _content(self, name: str) -> bytes | None:
        try:
            return objects.read(self.folder / name)
        except FileNotFoundError:
            return None

    def _add(self, content: bytes) -> None:
        for shard, states in _states(content):
            if shard not in self.shards:
                self.shards.add(shard)
                self.entries[shard] = states

    def write(self, shard: str, states: Iterable[tuple[str, Any]]) -> None:
        """Note a shard that is committed."""
        name = f"{shard}{SUFFIX}"
        objects.write(self.folder / name, _table({shard: list(states)}))
        self._read.add(name)
        self.shards.add(shard)

    def remove(self, shard: str) -> None:
        """Delete the entry of a shard that is gone."""
        objects.delete(self.folder / f"{shard}{SUFFIX}")

    def fold(self) -> None:
        """Make one object of many, if there are many: a start then reads few.

        The single ones are deleted behind it, so a kill in between leaves them twice. Several
        processes may do it at once.
        """
        if len(self._there) < FOLD_AFTER:
            return
        contents: dict[str, States] = {}
        with ThreadPoolExecutor(THREADS, "manifest") as threads:
            old = sorted(self._there)
            for content in threads.map(self._content, old):
                contents.update(_states(content) if content else ())
            data = _table(dict(sorted(contents.items())))
            name = f"{ALL}{hashlib.sha256(data).hexdigest()[:16]}{SUFFIX}"
            with suppress(UserError):  # a reader's rights need not be a writer's
                objects.write(self.folder / name, data)
                gone = [self.folder / other for other in old if other != name]
                list(threads.map(objects.delete, gone))
                self._read.add(name)


def _table(shards: Mapping[str, States]) -> bytes:
    """Return rows of shard, key and status as Parquet."""
    rows = [(shard, key, state) for shard, states in shards.items() for key, state in states]
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    names = ("shard", "key", "status")
    table = pa.table({n: pa.array(c, pa.string()) for n, c in zip(names, columns, strict=True)})
    data = pa.BufferOutputStream()
    pq.write_table(table, data, compression="zstd")
    return bytes(data.getvalue())


def _states(content: bytes) -> Iterator[tuple[str, States]]:
    """Yield the shards that an object holds; nothing if it is damaged: the shards say it too."""
    try:
        table = pq.read_table(pa.BufferReader(content), use_threads=False)
        columns = [table[name].to_pylist() for name in ("shard", "key", "status")]
    except (pa.ArrowException, KeyError, OSError):
        return
    shards: dict[str, States] = {}
    for shard, key, state in zip(*columns, strict=True):
        shards.setdefault(shard, []).append((key, state))
    yield from shards.items()
