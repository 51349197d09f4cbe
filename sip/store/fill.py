"""Filling a stage: batches are claimed, made by a function, and committed as shards."""

import random
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Generic, TypeVar

from sip.core.errors import UserError
from sip.core.files import plain_disk_errors
from sip.core.interrupt import graceful, stop_requested
from sip.core.progress import progress
from sip.store.open_rows import OpenRows
from sip.store.stage import Row, StageStore
from sip.store.waiting import Waiting
from sip.store.writer import ShardWriter

Input = TypeVar("Input")
Add = Callable[[Mapping[str, Any]], None]
Make = Callable[[Iterator[list[Input]], Add], None]

COMMIT_EVERY = 120.0  # s after which a small shard is committed, too; a kill costs no more
LEAST_CLAIM = 64  # rows that are claimed at a time, if a shard is larger


def cut(keys: Sequence[str], size: int) -> list[Sequence[str]]:
    """Cut keys into batches of `size`."""
    return [keys[start : start + size] for start in range(0, len(keys), size)]


@dataclass(frozen=True)
class Filled:
    """The outcome of `fill`.

    Attributes:
        stage: StageStore of the rows.
        wanted: Key -> input of each row.
        cached: Number of rows that existed before.
        computed: Number of rows that this call made.
        waited: Number of rows that another process made meanwhile.
    """

    stage: StageStore
    wanted: Mapping[str, Any]
    cached: int
    computed: int
    waited: int

    @property
    def rows(self) -> dict[str, Row]:
        """Read the rows, in the order in which they were wanted."""
        return self.stage.read(self.wanted)


def fill(
    stage: StageStore,
    wanted: Mapping[str, Input],
    make: Make[Input],
    batches: int | Iterable[Sequence[str]],
    shard_size: int,
    storage: str = "files",
    name: str | None = None,
    unit: str = "row",
    retry_failed: bool = False,
) -> Filled:
    """Return all wanted rows: read those that exist, and have the missing ones made.

    Rows are made in batches, and some batches together become one shard. If several processes need
    the same row, one makes it and the others wait and read.

    Args:
        stage: StageStore of the rows.
        wanted: Key -> what `make` needs in order to make that row.
        make: Takes an iterator of batches, lists of inputs, and a function `add`; hands a row
            for each input to `add`, in any order, from one thread at a time. The iterator may
            be pulled from another thread; it claims rows as it goes. It ends early if a stop was
            requested. A row has its "key"; its "payload" (bytes), if any, is stored, and "file"
            is the path when the row is read. One with "status" "failed" is kept too.
        batches: Keys that are made together, or how many; a batch is committed as a whole, so
            that a run that was killed goes on with the same batches as an unbroken one.
        shard_size: Rows that are committed together, if they are made within `COMMIT_EVERY`;
            what a kill can cost at most, next to the batches at work.
        storage: How payloads are stored: "files" or "webdataset".
        name: Title of the progress bar; the stage's name if None.
        unit: Name of a row in the progress bar.
        retry_failed: Make failed rows again.

    Raises:
        Stopped: SIGINT or SIGTERM was received; all rows that were made are committed.
        Exception: What `make` raises, once the rows that it added before are committed.
    """
    stage.refresh()
    if isinstance(batches, int):
        batches = cut(list(wanted), batches)
    filling = Filling(stage, wanted, batches, shard_size, storage, retry_failed)
    missing = filling.num_missing
    made = filling.do(make, name or stage.name, unit) if missing else 0
    if missing:
        stage.place.tidy()
    else:
        filling.sweep()
    return Filled(stage, wanted, len(wanted) - missing, made, missing - made)


class Filling(Generic[Input]):
    """One call of `fill`.

    Batches are taken from the front of a queue, a shard's worth at a time, and claimed; those that
    another process has claimed wait in `_later`. Rows are collected in the open shard, which is
    committed when it is large enough and holds only whole batches.
    """

    def __init__(
        self,
        stage: StageStore,
        wanted: Mapping[str, Input],
        batches: Iterable[Sequence[str]],
        shard_size: int,
        storage: str,
        retry_failed: bool,
    ) -> None:
        self.stage = stage
        self.wanted = wanted
        self.shard_size = shard_size
        self.storage = storage
        self.computed = 0
        # Where the failed rows lie that are to be made again; a newer one, though it failed, counts
        self._outdated: dict[str, str] = {}
        if retry_failed:
            self._outdated = {key: stage.shard_of(key) for key in stage.failed(wanted)}
        self._queue = deque(filter(None, map(self._missing, batches)))
        self._num_queued = self.num_missing = sum(map(len, self._queue))
        self._later: deque[list[str]] = deque()
        self._waiting = Waiting()  # for who has claimed what is in `_later`
        self._claims = stage.place.claims()
        self._open = OpenRows()
        self._lock = threading.Lock()  # of the index: one thread claims, another one commits
        self._writer: ShardWriter | None = None
        self._opened = 0.0  # when the open shard was begun

    def do(self, make: Make[Input], name: str, unit: str) -> int:
        """Make the missing rows, or wait for who does; return how many were made here."""
        self.stage.place.prepare()
        if self.shard_size < 1:
            raise ValueError(f"shard_size: must be >= 1, got {self.shard_size}")
        with graceful(), closing(progress(name, self.num_missing, unit)) as self._bar:
            try:
                while not stop_requested():
                    batches = self._batches()
                    first = next(batches, None)
                    if first is not None:
                        self._make(make, chain([first], batches))
                    elif not self._later:
                        break
                    else:
                        self._waiting.wait(name, sum(map(len, self._later)), self._claims)
                    self._queue, self._later = self._later, self._queue
                    self._num_queued = sum(map(len, self._queue))
            finally:
                self._claims.release()
        return self.computed

    def _make(self, make: Make[Input], batches: Iterator[list[Input]]) -> None:
        """Let `make` work through `batches`; commit what it adds.

        Raises:
            RuntimeError: `make` ended and left rows out.
        """
        try:
            make(batches, self._add)
        finally:
            self._commit()
        if (number := self._open.num_to_make) and not stop_requested():
            raise RuntimeError(f"make() gave no row for {number} of the keys it was given")

    def _batches(self) -> Iterator[list[Input]]:
        """Yield the inputs of one claimed batch after the other, as long as there are free ones."""
        while portion := self._take():
            for keys in portion:
                if stop_requested():
                    return
                yield [self.wanted[key] for key in keys]

    def _take(self) -> list[list[str]]:
        """Claim some rows that nobody makes, a shard's worth at most."""
        while True:
            portion, lost = self._try_to_take()
            if portion or not lost:
                return portion
            # Others take from the same place in the queue: go elsewhere.
            self._queue.rotate(random.randrange(len(self._queue) or 1))

    def _try_to_take(self) -> tuple[list[list[str]], set[str]]:
        """Return the batches that were claimed, and the keys of those that others got."""
        portion: list[list[str]] = []
        # New claims and shards are read before the lock is held; under it, only if claims were
        # taken or released since. Claims come first: who releases rows has committed them.
        with plain_disk_errors(self.stage.folder):
            self._claims.look()
            self._refresh()
            leftovers = self._leftovers()
        with plain_disk_errors(self.stage.folder), self._claims.locked():
            if not self._claims.is_current():
                self._refresh()
            claimed = self._claims.claimed()
            if leftovers:
                self._remove_leftovers()
            num = self._num_to_claim()
            while self._queue and sum(map(len, portion)) < num:
                batch = self._queue.popleft()
                self._num_queued -= len(batch)
                missing = self._missing(batch)
                free = [key for key in missing if key not in claimed]
                if held := [key for key in missing if key in claimed]:
                    self._later.append(held)
                    self._waiting.owners.update(claimed[key] for key in held)
                if free:
                    portion.append(free)
            lost = self._claims.take(self._open.claim(portion)) if portion else set()
        if portion and not self._claims.HAS_LOCK:  # who had a row a moment ago has committed it
            self._refresh()
            lost |= set(chain(*portion)).difference(*map(self._missing, portion))
        if lost:
            portion = self._without(lost, portion)
        # Other processes take rows, or leave some to us.
        self._bar.total = self._bar.n + self._open.num_to_make + self._num_queued
        return portion, lost

    def _without(self, lost: set[str], portion: list[list[str]]) -> list[list[str]]:
        """Leave rows that others got for later, and return the other ones."""
        self._open.give_up(lost)
        claimed = self._claims.claimed()
        for keys in portion:
            if held := [key for key in keys if key in lost]:
                self._later.append(held)
                self._waiting.owners.update(claimed[key] for key in held if key in claimed)
        left = ([key for key in keys if key not in lost] for keys in portion)
        return list(filter(None, left))

    def _num_to_claim(self) -> int:
        """Return the number of rows to claim: fewer towards the end, so that all have work."""
        share = self._num_queued // (4 * len(self._claims.owners()))
        return min(self.shard_size, max(LEAST_CLAIM, share))

    def _refresh(self) -> None:
        with self._lock:
            self.stage.refresh()

    def _missing(self, batch: Sequence[str]) -> list[str]:
        """Return those keys of a batch that have no row, or only an outdated one."""
        stage, outdated = self.stage, self._outdated
        return [
            key
            for key in batch
            if key not in stage.index or (key in outdated and outdated[key] == stage.shard_of(key))
        ]

    def _add(self, row: Mapping[str, Any]) -> None:
        """Take a finished row into the open shard.

        Raises:
            ValueError: It was not asked for, or comes a second time.
        """
        self._open.check(row["key"])
        if self._writer is None:
            self._writer = ShardWriter(self.stage.place, self._claims.owner, self.storage)
            self._opened = time.monotonic()
        self._writer.add(row)
        self._bar.update(1)
        self._open.add(row["key"])
        is_old = time.monotonic() - self._opened >= COMMIT_EVERY
        if self._open.is_whole and (is_old or len(self._writer.rows) >= self.shard_size):
            self._commit()
            self._renew()

    def _renew(self) -> None:
        """Claim the rest of the claimed rows, which tells others that this process works."""
        with plain_disk_errors(self.stage.folder), self._claims.locked():
            if left := self._open.claim([]):
                self._claims.take(left)

    def _commit(self) -> None:
        """Make the open shard visible."""
        writer, self._writer = self._writer, None
        self._open.forget_begun()
        if writer is None:
            return
        keys = self._open.sorted(writer.rows)
        writer.commit(keys)
        self.computed += len(keys)
        with self._lock:
            if writer.name not in self.stage.names:
                rows = writer.rows
                self.stage.remember(writer.name, ((key, rows[key].get("status")) for key in keys))
        self._open.commit(keys)

    def sweep(self) -> None:
        """Remove what dead owners have left; a store that cannot be written stays as it is."""
        with suppress(OSError, UserError):
            if any(self.stage.tmp.glob("*")) or not self._claims.is_empty():
                self._claims.look()
                with self._claims.locked():
                    self._claims.claimed()
                    self._remove_leftovers()

    def _leftovers(self) -> list[Path]:
        """Return what owners without a claim have left unfinished; only under the lock for sure."""
        unfinished = list(self.stage.tmp.iterdir())
        owners = self._claims.owners()
        return [folder for folder in unfinished if folder.name.rsplit("--", 1)[0] not in owners]

    def _remove_leftovers(self) -> None:
        """Remove what owners that died have left unfinished. Must be called with the lock held."""
        for unfinished in self._leftovers():
            shutil.rmtree(unfinished, ignore_errors=True)
