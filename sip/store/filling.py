"""What is missing of a stage, and the shard that is being made: what an executor works on."""

import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from sip.core import moved
from sip.core.files import plain_disk_errors
from sip.core.interrupt import graceful, stop_requested
from sip.core.progress import Progress, progress
from sip.core.spill import Spilled
from sip.store.open_rows import OpenRows
from sip.store.stage import Row, StageStore
from sip.store.writer import ShardWriter

Input = TypeVar("Input")
Add = Callable[[Mapping[str, Any]], None]
Make = Callable[[Iterator[list[Input]], Add], None]

COMMIT_EVERY = 120.0  # s after which a small shard is committed, too; a kill costs no more
UNCLAIMED = "unclaimed-"  # begins the name of an owner of unfinished shards that claims nothing
ABANDONED_AFTER = 24 * 3600.0  # s without a change, after which such a shard's owner is dead


class Filling(Generic[Input]):
    """One call of `fill`: batches of missing rows, and a way to commit what was made of them.

    An executor decides who makes which batch. Rows are collected in the open shard, which is
    committed when it is large enough and holds only whole batches.

    Args:
        stage, wanted, shard_size, storage, retry_failed: As those of `fill`.
        batches: Keys that are made together.

    Attributes:
        batches: The missing keys of each batch, also of those that lack none.
        num_missing: Number of these keys.
        computed: Number of rows that were committed here.
        open: Rows that are handed out and not committed.
        owner: Prefix of the names of unfinished shards, which tells whose they are.
        renew: Is called when a full shard was committed.
        bar, name, unit: The progress, its title and the name of a row.
    """

    bar: Progress
    name: str
    unit: str

    def __init__(
        self,
        stage: StageStore,
        wanted: Mapping[str, Input],
        batches: Iterable[Sequence[str]],
        shard_size: int,
        storage: str = "files",
        retry_failed: bool = False,
    ) -> None:
        self.stage = stage
        self.wanted = wanted
        self.shard_size = shard_size
        self.storage = storage
        self.computed = 0
        self._retry_failed = retry_failed
        # Where the failed rows lie that are to be made again; a newer one, though it failed, counts
        self._outdated: dict[str, str] = {}
        self._sources: dict[str, set[str]] = {}  # shard -> itself, and those that it took over
        self._lock = threading.Lock()  # of the index: one thread hands out, another one commits
        if retry_failed:
            self._outdated = {key: stage.shard_of(key) for key in stage.failed(wanted)}
        self.batches = Spilled[Sequence[str]](map(self.missing, batches))
        self.num_missing = sum(map(len, self.batches))
        self.open = OpenRows()
        self.owner = f"{UNCLAIMED}{uuid.uuid4().hex}"
        self.renew: Callable[[], None] = lambda: None
        self._writer: ShardWriter | None = None
        self._opened = 0.0  # when the open shard was begun

    def extend(self, rows: Mapping[str, Input]) -> list[str]:
        """Ask for more rows, made together and in `wanted` now; return the missing keys."""
        if self._retry_failed:
            with self._lock, plain_disk_errors(self.stage.folder):
                failed = self.stage.failed(rows)
                self._outdated |= {key: self.stage.shard_of(key) for key in failed}
        missing = self.missing(list(rows))
        self.num_missing += len(missing)
        self.bar.total = self.num_missing
        return missing

    @contextmanager
    def begun(self, name: str, unit: str) -> Iterator[None]:
        """Show the progress in the block, in which an executor has the rows made.

        Raises:
            Stopped: SIGINT or SIGTERM was received.
        """
        self.stage.place.prepare()
        if self.shard_size < 1:
            raise ValueError(f"shard_size: must be >= 1, got {self.shard_size}")
        self.name, self.unit = name, unit
        with graceful(), closing(progress(name, self.num_missing, unit)) as self.bar:
            yield

    def work(self, make: Make[Input], batches: Iterator[Sequence[str]]) -> None:
        """Let `make` work through batches of keys, which are in `open`; commit what it adds.

        Raises:
            RuntimeError: `make` ended and left rows out.
        """
        inputs = ([self.wanted[key] for key in keys] for keys in batches)
        try:
            make(inputs, self.add)
        finally:
            self.commit()
        if (number := self.open.num_to_make) and not stop_requested():
            raise RuntimeError(f"make() gave no row for {number} of the keys it was given")

    def refresh(self) -> None:
        """Look for rows that others have committed."""
        with self._lock, plain_disk_errors(self.stage.folder):
            self.stage.refresh()

    def read(self, keys: Sequence[str]) -> list[Row]:
        """Return rows that are there, in the order of `keys`, while others are committed."""
        with self._lock:
            return list(self.stage.each(keys))

    def missing(self, batch: Sequence[str]) -> list[str]:
        """Return those keys of a batch that have no row, or only an outdated one."""
        with self._lock:
            return [key for key in batch if self.stage.lacks(key) or self._is_outdated(key)]

    def _is_outdated(self, key: str) -> bool:
        """Return whether a row failed before and was not made again, in whatever shard it is now.

        Of rows that others made again, and that failed and were joined between two looks, this
        cannot be told: they are made once more.
        """
        if (old := self._outdated.get(key)) is None:
            return False
        shard = self.stage.shard_of(key)
        if shard == old or (self.stage.has_failed(key) and old in self._sources_of(shard)):
            return True
        del self._outdated[key]  # for good: the newer row may be joined with the old one
        return False

    def _sources_of(self, shard: str) -> set[str]:
        """Return the names of a shard and of those that it took over, directly or not."""
        if shard not in self._sources:
            taken = moved.takeovers(self.stage.place.root)
            found, new = set[str](), {shard}
            while new:
                found |= new
                new = {old for name in new for old in taken.get(name, ())} - found
            self._sources[shard] = found
        return self._sources[shard]

    def add(self, row: Mapping[str, Any]) -> None:
        """Take a finished row into the open shard.

        Raises:
            ValueError: It was not asked for, or comes a second time.
        """
        self.open.check(row["key"])
        if self._writer is None:
            self._writer = ShardWriter(self.stage.place, self.owner, self.storage)
            self._opened = time.monotonic()
        self._writer.add(row)
        self.bar.update(1)
        self.open.add(row["key"])
        is_old = time.monotonic() - self._opened >= COMMIT_EVERY
        if self.open.is_whole and (is_old or len(self._writer.rows) >= self.shard_size):
            self.commit()
            self.renew()

    def commit(self) -> None:
        """Make the open shard visible."""
        writer, self._writer = self._writer, None
        self.open.forget_begun()
        if writer is None:
            return
        keys = self.open.sorted(writer.rows)
        writer.commit(keys)
        self.computed += len(keys)
        with self._lock:
            if writer.name not in self.stage.names:
                rows = writer.rows
                self.stage.remember(writer.name, ((key, rows[key].get("status")) for key in keys))
            for key in keys:
                self._outdated.pop(key, None)
        self.open.commit(keys)


def unfinished(stage: StageStore) -> list[Path]:
    """Return the unfinished shards on this machine.

    To be listed before claims are looked at: who begins a shard has claimed its rows before.
    """
    return list(stage.tmp.iterdir()) if stage.tmp.is_dir() else []


def leftovers(shards: Iterable[Path], owners: Iterable[str] | None) -> list[Path]:
    """Return those of unfinished shards whose owners died.

    Args:
        shards: Those of `unfinished`.
        owners: Those with a claim; None: not known, so that only shards without one can be told.
    """
    found = []
    for folder in shards:
        owner = folder.name.rsplit("--", 1)[0]
        if owner.startswith(UNCLAIMED):
            if _is_abandoned(folder):
                found.append(folder)
        elif owners is not None and owner not in owners:
            found.append(folder)
    return found


def remove_leftovers(shards: Iterable[Path], owners: Iterable[str] | None) -> None:
    """Remove those of unfinished shards whose owners died."""
    for folder in leftovers(shards, owners):
        shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    """Tell whether an unfinished shard has not changed for long."""
    try:
        changed = [file.stat().st_mtime for file in (folder, *folder.iterdir())]
    except OSError:  # it was committed meanwhile
        return False
    return time.time() - max(changed) > ABANDONED_AFTER
