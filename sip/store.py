"""The store: a row is named by what goes into it, made once, and found ever after.

    store/<room>/<choice>-<fingerprint of the recipe>/
        recipe.json            how rows of this room are made
        shards/<shard>/        finished rows (`rows.parquet`) and their files; never changed
        tmp/                   shards that are being written
        claims/                who makes which keys at the moment

The recipe says how rows are made, a row's key is a hash of that row's own inputs. A room is asked
for rows: those that are there are read, the missing ones are made, each chunk of them becomes one
shard. Where several processes need the same row, one makes it and the others wait and read.
"""

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from sip.common.claims import Claims, readable, write_atomically
from sip.common.errors import UserError
from sip.common.progress import Progress, progress
from sip.common.seeds import digest
from sip.common.shards import ShardWriter, plain_disk_errors, read_columns, read_rows

Row = dict[str, Any]
Input = TypeVar("Input")
Add = Callable[[Mapping[str, Any]], None]

FAILED = "failed"  # the value of a row's "status" that says that its making failed
FINGERPRINT_LENGTH = 10  # hex digits
POLL_EVERY = 0.5  # s between two looks at what another process makes


@dataclass(frozen=True)
class Filled:
    """What `Room.fill` returns.

    Attributes:
        rows: Key -> row, in the order in which they were wanted.
        found: Rows that were there before.
        made: Rows that this call made.
        waited: Rows that another process made meanwhile.
    """

    rows: dict[str, Row]
    found: int
    made: int
    waited: int


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
        _check_or_write_recipe(folder / "recipe.json", json.loads(json.dumps(recipe)))
        return Room(folder, name, fingerprint)


@dataclass
class _Entry:
    """Where the newest row of a key lies."""

    shard: str
    failed: bool


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
    _index: dict[str, _Entry] = field(default_factory=dict, repr=False)
    _indexed: set[str] = field(default_factory=set, repr=False)

    def keys(self) -> list[str]:
        """Return the keys of all rows that are there."""
        self._refresh()
        return list(self._index)

    def read(self, keys: Iterable[str]) -> dict[str, Row]:
        """Return those of the rows that are there, in the order of `keys`."""
        keys = list(dict.fromkeys(keys))
        self._refresh()
        by_shard: dict[str, set[str]] = {}
        for key in keys:
            if key in self._index:
                by_shard.setdefault(self._index[key].shard, set()).add(key)
        rows: dict[str, Row] = {}
        for shard, inside in by_shard.items():
            rows.update((row["key"], row) for row in read_rows(self._shards / shard, inside))
        return {key: rows[key] for key in keys if key in rows}

    def fill(
        self,
        wanted: Mapping[str, Input],
        make: Callable[[list[Input]], Iterable[Mapping[str, Any]]],
        chunk: int,
        name: str | None = None,
        unit: str = "row",
        retry_failed: bool = False,
    ) -> Filled:
        """Return the wanted rows: read those that are there, make the others.

        Args:
            wanted: Key -> what `make` needs in order to make that row.
            make: Yields a row, in any order, for each input of a list; each has its "key". Its
                "payload" (bytes), if any, is stored as the file "<key><suffix>", whose absolute
                path is the row's "file" when it is read. A row whose "status" is "failed" is kept.
            chunk: Rows that are made and committed together; what a kill can cost at most.
            name: Stands in front of the progress bar; the room's name if None.
            unit: What a row is called in the progress bar.
            retry_failed: Make those rows again whose making failed.

        Raises:
            Exception: What `make` raises, once the rows that it yielded before are committed.
        """

        def push(inputs: list[Input], add: Add) -> None:
            rows = make(inputs)
            with closing(rows) if isinstance(rows, Generator) else nullcontext():
                for row in rows:
                    add(row)

        return self.fill_pushed(wanted, push, chunk, name, unit, retry_failed)

    def fill_pushed(
        self,
        wanted: Mapping[str, Input],
        make: Callable[[list[Input], Add], None],
        chunk: int,
        name: str | None = None,
        unit: str = "row",
        retry_failed: bool = False,
    ) -> Filled:
        """Do what `fill` does with a `make` that hands each row to a function, its second argument.

        For makers that another library drives, such as Lightning's Trainer.
        """
        self._refresh()
        work = _Work(self, wanted, retry_failed)
        found = len(wanted) - len(work.missing())
        made = work.do(make, chunk, name or self.name, unit) if found < len(wanted) else 0
        rows = self.read(wanted)
        return Filled(rows, found, made, len(wanted) - found - made)

    @property
    def _shards(self) -> Path:
        return self.folder / "shards"

    @property
    def _tmp(self) -> Path:
        return self.folder / "tmp"

    def _refresh(self) -> None:
        """Read the keys of the shards that came since the last look."""
        names = set(os.listdir(self._shards)) if self._shards.is_dir() else set()
        if not self._indexed <= names:  # someone cleaned up
            self._index.clear()
            self._indexed.clear()
        for shard in sorted(names - self._indexed):
            columns = read_columns(self._shards / shard, ["key", "status"])
            states = columns.get("status") or [None] * len(columns["key"])
            for key, state in zip(columns["key"], states, strict=True):
                old = self._index.get(key)
                if old is None or old.failed:
                    self._index[key] = _Entry(shard, state == FAILED)
            self._indexed.add(shard)


@dataclass(frozen=True)
class _Share:
    """How the missing rows are shared out: what is ours now, and key -> owner for the others'."""

    mine: list[str]
    others: dict[str, str]
    free: int


class _Work(Generic[Input]):
    """One call of `Room.fill`."""

    def __init__(self, room: Room, wanted: Mapping[str, Input], retry_failed: bool) -> None:
        self.room = room
        self.wanted = wanted
        # Where the failed rows lie that are to be made again; a newer one, though it failed, counts
        self._outdated = {
            key: entry.shard
            for key in wanted
            if retry_failed and (entry := room._index.get(key)) is not None and entry.failed
        }
        self._left = list(wanted)

    def missing(self) -> list[str]:
        """Return the wanted keys without a row, in order, as of the room's last look."""
        index, outdated = self.room._index, self._outdated
        self._left = [
            key for key in self._left if key not in index or outdated.get(key) == index[key].shard
        ]
        return self._left

    def do(self, make: Callable[[list[Input], Add], None], chunk: int, name: str, unit: str) -> int:
        """Make the missing rows, or wait for who does; return how many were made here."""
        self._prepare_folders()
        self._claims = Claims(self.room.folder / "claims")
        bar: Progress | None = None
        made, told = 0, False
        try:
            while share := self._claim(chunk):
                if share.mine:
                    bar = bar or progress(name, share.free, unit)
                    bar.total = made + share.free  # others take some, or leave some to us
                    self._make_shard(make, share.mine, bar)
                    made += len(share.mine)
                    continue
                if not told:
                    who = ", ".join(sorted({readable(owner) for owner in share.others.values()}))
                    tqdm.write(f"{name}: waiting for {len(share.others)} made by {who}", sys.stderr)
                told = True
                time.sleep(POLL_EVERY)
        finally:
            self._claims.release()
            if bar is not None:
                bar.close()
        return made

    def _claim(self, chunk: int) -> _Share | None:
        """Claim up to `chunk` of the missing keys that nobody makes; None if no row is missing."""
        with plain_disk_errors(self.room.folder), self._claims.locked():
            claimed = self._claims.others()
            self._remove_leftovers()
            self.room._refresh()
            missing = self.missing()
            free = [key for key in missing if key not in claimed]
            if free:
                self._claims.take(free[:chunk])
        if not free:
            self._claims.release()
        others = {key: claimed[key] for key in missing if key in claimed}
        return _Share(free[:chunk], others, len(free)) if missing else None

    def _make_shard(
        self, make: Callable[[list[Input], Add], None], keys: list[str], bar: Progress
    ) -> None:
        """Make the rows of one chunk and commit them, or those of them that come before an error.

        Raises:
            ValueError: `make` gave a row twice, or one that it was not asked for.
            RuntimeError: `make` ended and left rows out.
        """
        writer = ShardWriter(self.room._tmp, self.room._shards, self._claims.owner)
        open_keys = set(keys)

        def add(row: Mapping[str, Any]) -> None:
            if row["key"] not in open_keys:
                raise ValueError(f"make() gave the row {row['key']!r} twice or unasked")
            writer.add(row)
            open_keys.discard(row["key"])
            bar.update(1)

        try:
            make([self.wanted[key] for key in keys], add)
        finally:
            writer.commit(keys)
        if open_keys:
            raise RuntimeError(f"make() gave no row for {len(open_keys)} of {len(keys)} keys")

    def _prepare_folders(self) -> None:
        for part in ("tmp", "claims", "shards"):
            with plain_disk_errors(self.room.folder):
                (self.room.folder / part).mkdir(parents=True, exist_ok=True)

    def _remove_leftovers(self) -> None:
        """Remove what owners that died have left unfinished. Must be called with the lock held."""
        owners = self._claims.owners()
        for unfinished in self.room._tmp.iterdir():
            if unfinished.name.split("--")[0] not in owners:
                shutil.rmtree(unfinished, ignore_errors=True)


def _check_or_write_recipe(file: Path, recipe: Any) -> None:
    """Make sure that `file` holds `recipe`.

    Raises:
        UserError: It holds something else, or nothing readable.
    """
    if not file.exists():
        with plain_disk_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, json.dumps(recipe, indent=2, sort_keys=True) + "\n")
        return
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{file} should hold the recipe of the rows beside it and cannot be read ({error}); "
            f"delete the folder {file.parent}, its rows will be made again"
        ) from error
    if found != recipe:
        keys = found.keys() | recipe.keys() if isinstance(found, dict) else set()
        other = sorted(key for key in keys if found.get(key) != recipe.get(key))
        raise UserError(
            f"{file} should hold the recipe of the rows beside it and holds another "
            f"(other values of: {', '.join(other) or 'all'}); it was edited by hand: undo that, or "
            f"delete the folder {file.parent}, its rows will be made again"
        )
