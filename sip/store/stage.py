"""The store: a row is named by what goes into it, computed once, and read from then on.

    store/<stage>/<choice>-<fingerprint of the recipe>/
        recipe.json            how rows of this stage are made
        shards/<shard>/        finished rows (`rows.parquet`) and their files; never changed
        tmp/                   shards that are being written
        claims/                who makes which keys at the moment

Or the same below a prefix of an object store (`sip.store.bucket`); what is unfinished then lies on
this machine. The recipe says how rows are made, a row's key is a hash of that row's own inputs.
`sip.store.fill.fill` asks a stage for rows.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from sip.core.errors import DamagedError, UserError
from sip.core.hashing import digest
from sip.core.object_cache import on_disk
from sip.core.objects import folders
from sip.core.spill import KeyNumbers, unique
from sip.core.uri import Place, Uri, place_of
from sip.store.bucket import Bucket
from sip.store.place import SHARDS, Folder, StagePlace
from sip.store.recipes import check_or_write
from sip.store.shards import FAILED, read_columns, read_rows

Row = dict[str, Any]

ROWS_AT_ONCE = 2**15  # rows of 1 to 2 kB
FINGERPRINT_LENGTH = 10  # hex digits


class Store:
    """All stages' rows below one place.

    Args:
        root: A folder, or a place in an object store, such as s3://bucket/prefix.

    Attributes:
        root: The place; a folder is made absolute.
        work: Folder of this machine for what is its own: the root itself, if it is a folder.
    """

    def __init__(self, root: str | os.PathLike[str] | Uri) -> None:
        self.root: Place = place_of(root).absolute()
        self.work = on_disk(self.root)

    def stage(self, name: str, choice: str, recipe: Mapping[str, Any]) -> "StageStore":
        """Open, or make, the place of the rows of a recipe.

        Args:
            name: The stage, such as "captions".
            choice: The readable half of the folder's name, such as "blip".
            recipe: Everything that can change a row and is not in its key; must be JSON.

        Raises:
            UserError: The place cannot be read or written.
        """
        fingerprint = digest(recipe)[:FINGERPRINT_LENGTH]
        path = f"{name}/{re.sub(r'[^A-Za-z0-9._]+', '-', choice)}-{fingerprint}"
        place = self.place(path)
        check_or_write(place, json.loads(json.dumps(recipe)))
        return StageStore(place, path, name, fingerprint)

    def place(self, path: str) -> StagePlace[Any]:
        """Return where the rows of a stage lie, by its path below the root."""
        if isinstance(self.root, Path):
            return Folder(self.root / path)
        return Bucket(self.root / path, self.work / path)

    def places(self) -> list[StagePlace[Any]]:
        """Return where rows of any stage lie."""
        if isinstance(self.root, Path):
            paths = sorted(file.parent for file in self.root.glob(f"*/*/{SHARDS}"))
            return [Folder(path) for path in paths]
        below = [
            f"{stage}/{choice}"
            for stage in folders(self.root)
            for choice in folders(self.root / stage)
        ]
        return [self.place(path) for path in below]


@dataclass
class StageStore:
    """The rows that one recipe makes.

    Attributes:
        place: Where they lie.
        path: The same as seen from the root of the store.
        name: The stage's name, shown in progress bars.
        fingerprint: Hash of the recipe, 10 hex digits.
    """

    place: StagePlace[Any]
    path: str
    name: str
    fingerprint: str
    # Key -> position of its newest row's shard in `names`; its complement if the row failed.
    # A number a row is all that is kept: a stage may hold millions.
    # Who lists the keys has a dict here.
    index: KeyNumbers | dict[str, int] = field(default_factory=KeyNumbers, repr=False)
    names: list[str] = field(default_factory=list, repr=False)
    num_failed: int = 0  # keys whose newest row says so, as of the last look

    def keys(self) -> list[str]:
        """Return the keys of all rows that are there, each once."""
        self.refresh()
        shards = (read_columns(self.shards / name, ["key"])["key"] for name in self.names)
        return list(unique(chain.from_iterable(shards)))

    def missing(self, keys: Iterable[str]) -> Iterator[str]:
        """Yield those of `keys` that have no row."""
        self.refresh()
        return (key for key in keys if key not in self.index)

    def failed(self, keys: Iterable[str]) -> list[str]:
        """Return those of `keys` whose row says that its making failed."""
        self.refresh()
        return [key for key in keys if self.has_failed(key)] if self.num_failed else []

    def read(self, keys: Iterable[str]) -> dict[str, Row]:
        """Return those of the rows that are there, in the order of `keys`."""
        self.refresh()
        there = [key for key in dict.fromkeys(keys) if key in self.index]
        return dict(zip(there, self.each(there), strict=True))

    def has_failed(self, key: str) -> bool:
        """Return whether a row was there at the last look, and says that its making failed."""
        return self.index.get(key, 0) < 0

    def lacks(self, key: str, retry_failed: bool = False) -> bool:
        """Return whether a row was not there at the last look, or, with `retry_failed`, failed."""
        number = self.index.get(key, None)
        return number is None or (retry_failed and number < 0)

    def each(self, keys: Iterable[str], columns: Sequence[str] | None = None) -> Iterator[Row]:
        """Yield the rows of `keys`, in that order; all must be there.

        Of each, all or only some columns, next to the key.

        For `ROWS_AT_ONCE` keys a shard is read once, whatever their order. Its rows are in memory
        until they are yielded: those of one or two shards if the order is that of the store.
        """
        self.refresh()
        keys = iter(keys)
        while some := list(islice(keys, ROWS_AT_ONCE)):
            yield from self._each(some, columns)

    def _each(self, keys: Sequence[str], columns: Sequence[str] | None) -> Iterator[Row]:
        by_shard = self._by_shard(keys)
        self.place.fetch(by_shard)
        times = Counter(keys)
        rows: dict[str, Row] = {}
        for number, key in enumerate(keys):
            while key not in rows:
                shard = self.shard_of(key)
                if key not in by_shard.get(shard, ()):  # it is elsewhere since the last look
                    by_shard = self._by_shard([each for each in keys[number:] if each not in rows])
                try:
                    found = list(read_rows(self.shards / shard, by_shard.pop(shard), columns))
                except DamagedError:
                    if not self._has_moved(shard):
                        raise
                else:
                    rows.update((row["key"], row) for row in found)
                    break
            times[key] -= 1
            yield rows[key] if times[key] else rows.pop(key)

    def _by_shard(self, keys: Iterable[str]) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for key in keys:
            found.setdefault(self.shard_of(key), set()).add(key)
        return found

    def _has_moved(self, shard: str) -> bool:
        """Look again if a shard is gone, whose rows are in another one then; return whether."""
        self.place.look_again()
        if shard in self.place.names():
            return False
        self.refresh()
        return True

    @property
    def folder(self) -> Path:
        """Return the folder of this machine for what is unfinished; that of the rows, if local."""
        return self.place.work

    @property
    def shards(self) -> Place:
        """Return the place of the finished shards."""
        return self.place.shards

    @property
    def tmp(self) -> Path:
        """Return the folder of the unfinished shards."""
        return self.place.tmp

    def shard_of(self, key: str) -> str:
        """Return the name of the shard with a key's newest row, as of the last look.

        Raises:
            UserError: There is no row.
        """
        position = self.index.get(key, None)
        if position is None:
            raise UserError(
                f"{self.place.root}: must hold the row {key}, which is gone; start the same "
                "command again: it makes the row again"
            )
        return self.names[~position if position < 0 else position]

    def refresh(self) -> None:
        """Read the keys of the shards that appeared since the last look."""
        while True:
            there = self.place.names()
            if not there.issuperset(self.names):  # someone cleaned up
                self.index.clear()
                self.names.clear()
                self.num_failed = 0
                self.place.forget()
            if not self.names:
                there = self._all_names()
            try:
                for shard, states in self.place.keys_of(sorted(there.difference(self.names))):
                    self.remember(shard, states)
                return
            except DamagedError:
                self.place.look_again()
                if there <= self.place.names():
                    raise
                # A shard was joined with other ones since it was listed.

    def _all_names(self) -> set[str]:
        """Return the names of the shards, also of one that appeared while others were listed.

        A list that is made while shards are joined may lack the new one and the old ones.
        """
        there = self.place.names()
        while not (again := self.place.names()).issuperset(there):
            there = again
        return again

    def remember(self, shard: str, keys: Iterable[tuple[str, Any]]) -> None:
        """Note the keys of a shard and their status."""
        position = len(self.names)
        self.names.append(shard)
        failed = ~position
        for key, state in keys:
            number = failed if state == FAILED else position
            known = self.index.setdefault(key, number)
            if known == number:
                self.num_failed += number < 0
            elif known < 0:
                self.index[key] = number
                self.num_failed -= number >= 0
