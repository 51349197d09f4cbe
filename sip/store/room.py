"""The store: a row is named by what goes into it, made once, and found ever after.

    store/<room>/<choice>-<fingerprint of the recipe>/
        recipe.json            how rows of this room are made
        shards/<shard>/        finished rows (`rows.parquet`) and their files; never changed
        tmp/                   shards that are being written
        claims/                who makes which keys at the moment

The recipe says how rows are made, a row's key is a hash of that row's own inputs. A room is asked
for rows: those that are there are found, the missing ones are made in batches, and some batches
together become one shard. Where several processes need the same row, one makes it and the others
wait and read.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sip.core.hashing import digest
from sip.store.fill import Input, Make, Work, cut
from sip.store.recipes import check_or_write
from sip.store.shards import read_columns, read_rows

Row = dict[str, Any]

FAILED = "failed"  # the value of a row's "status" that says that its making failed
FINGERPRINT_LENGTH = 10  # hex digits


@dataclass(frozen=True)
class Filled:
    """What `Room.fill` returns.

    Attributes:
        room: Where the rows lie.
        wanted: Their keys.
        found: Rows that were there before.
        made: Rows that this call made.
        waited: Rows that another process made meanwhile.
    """

    room: "Room"
    wanted: Mapping[str, Any]
    found: int
    made: int
    waited: int

    @property
    def rows(self) -> dict[str, Row]:
        """Key -> row, in the order in which they were wanted; read anew at each access."""
        return self.room.read(self.wanted)


class Store:
    """All rooms' rows under one folder."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).absolute()

    def room(self, name: str, choice: str, recipe: Mapping[str, Any]) -> "Room":
        """Open, or make, the folder for rows that are made by this recipe.

        Args:
            name: The room, such as "captions".
            choice: The readable half of the folder's name, such as "blip".
            recipe: Everything that can change a row and is not in its key; must be JSON.

        Raises:
            UserError: The folder's `recipe.json` says something else.
        """
        fingerprint = digest(recipe)[:FINGERPRINT_LENGTH]
        folder = self.root / name / f"{re.sub(r'[^A-Za-z0-9._]+', '-', choice)}-{fingerprint}"
        check_or_write(folder / "recipe.json", json.loads(json.dumps(recipe)))
        return Room(folder, name, fingerprint)


@dataclass
class Room:
    """The rows that one recipe makes.

    Attributes:
        folder: Where they lie.
        name: The room's name, shown in progress bars.
        fingerprint: Of the recipe, 10 hex digits.
    """

    folder: Path
    name: str
    fingerprint: str
    # Key -> position of its newest row's shard in `names`; its complement where the row failed.
    # A number a row is all that is kept: a room may hold millions.
    index: dict[str, int] = field(default_factory=dict, repr=False)
    names: list[str] = field(default_factory=list, repr=False)

    def keys(self) -> list[str]:
        """Return the keys of all rows that are there."""
        self.refresh()
        return list(self.index)

    def missing(self, keys: Iterable[str]) -> Iterator[str]:
        """Yield those of `keys` that have no row."""
        self.refresh()
        return (key for key in keys if key not in self.index)

    def failed(self, keys: Iterable[str]) -> list[str]:
        """Return those of `keys` whose row says that its making failed."""
        self.refresh()
        return [key for key in keys if self.index.get(key, 0) < 0]

    def read(self, keys: Iterable[str]) -> dict[str, Row]:
        """Return those of the rows that are there, in the order of `keys`."""
        keys = list(dict.fromkeys(keys))
        self.refresh()
        by_shard: dict[str, set[str]] = {}
        for key in keys:
            if key in self.index:
                by_shard.setdefault(self.shard_of(key), set()).add(key)
        rows: dict[str, Row] = {}
        for shard, inside in by_shard.items():
            rows.update((row["key"], row) for row in read_rows(self.shards / shard, inside))
        return {key: rows[key] for key in keys if key in rows}

    def fill(
        self,
        wanted: Mapping[str, Input],
        make: Make[Input],
        batches: int | Iterable[Sequence[str]],
        shard_size: int,
        storage: str = "files",
        name: str | None = None,
        unit: str = "row",
        retry_failed: bool = False,
    ) -> Filled:
        """See that all wanted rows are there: find them, or have them made.

        Args:
            wanted: Key -> what `make` needs in order to make that row.
            make: Takes an iterator of batches, lists of inputs, and a function `add`; hands a row
                for each input to `add`, in any order, from one thread at a time. The iterator may
                be pulled from another thread; it claims rows as it goes. It ends early where a
                stop was requested. A row has its "key"; its "payload" (bytes), if any, is stored,
                and its "file" is where when it is read. One with "status" "failed" is kept too.
            batches: Keys that are made together, or how many; a batch is committed as a whole, so
                that a run that was killed goes on with the same batches as an unbroken one.
            shard_size: Rows that are committed together, at least; what a kill can cost at most,
                beside the batches at work.
            storage: How payloads are stored: "files" or "webdataset".
            name: Stands in front of the progress bar; the room's name if None.
            unit: What a row is called in the progress bar.
            retry_failed: Make those rows again whose making failed.

        Raises:
            Stopped: SIGINT or SIGTERM came; all rows that were made are committed.
            Exception: What `make` raises, once the rows that it added before are committed.
        """
        self.refresh()
        if isinstance(batches, int):
            batches = cut(list(wanted), batches)
        work = Work(self, wanted, batches, shard_size, storage, retry_failed)
        missing = work.num_missing
        made = work.do(make, name or self.name, unit) if missing else 0
        return Filled(self, wanted, len(wanted) - missing, made, missing - made)

    @property
    def shards(self) -> Path:
        """Return the folder of the finished shards."""
        return self.folder / "shards"

    @property
    def tmp(self) -> Path:
        """Return the folder of the unfinished shards."""
        return self.folder / "tmp"

    def shard_of(self, key: str) -> str:
        """Return the name of the shard with a key's newest row, as of the last look."""
        position = self.index[key]
        return self.names[~position if position < 0 else position]

    def refresh(self) -> None:
        """Read the keys of the shards that came since the last look."""
        there = set(os.listdir(self.shards)) if self.shards.is_dir() else set()
        if not there.issuperset(self.names):  # someone cleaned up
            self.index.clear()
            self.names.clear()
        for shard in sorted(there.difference(self.names)):
            columns = read_columns(self.shards / shard, ["key", "status"])
            states = columns.get("status") or [None] * len(columns["key"])
            self.remember(shard, zip(columns["key"], states, strict=True))

    def remember(self, shard: str, keys: Iterable[tuple[str, Any]]) -> None:
        """Note the keys of a shard and the status of each."""
        position = len(self.names)
        self.names.append(shard)
        for key, state in keys:
            if self.index.get(key, -1) < 0:  # new, or failed before
                self.index[key] = ~position if state == FAILED else position
