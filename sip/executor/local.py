"""Processes that share a folder, or a bucket: each claims batches before it makes them.

A lost process costs its open shard: its claims end with it, and other processes make its rows.
"""

import random
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from typing import Any

from sip.core.component import component
from sip.core.errors import UserError
from sip.core.files import plain_disk_errors
from sip.core.interrupt import stop_requested
from sip.executor.base import Executor
from sip.store.filling import Filling, Make, leftovers, remove_leftovers, unfinished
from sip.store.stage import StageStore
from sip.store.waiting import Waiting

LEAST_CLAIM = 64  # rows that are claimed at a time, if a shard is larger


@component
class Local(Executor):
    """Any number of processes, which may come and go: the default."""

    def run(self, filling: Filling[Any], make: Make[Any]) -> None:
        """Make what nobody else makes, and wait for the rest."""
        Claiming(filling).run(make)

    def sweep(self, stage: StageStore) -> None:
        """Remove what dead owners have left; a store that cannot be written stays as it is."""
        claims = stage.place.claims()
        with suppress(OSError, UserError):
            shards = unfinished(stage)
            if shards or not claims.is_empty():
                claims.look()
                with claims.locked():
                    claims.claimed()
                    remove_leftovers(shards, claims.owners())


class Claiming:
    """One run of `Local`.

    Batches are taken from the front of a queue, a shard's worth at a time, and claimed; those that
    another process has claimed wait in `_later`.
    """

    def __init__(self, filling: Filling[Any]) -> None:
        self._filling = filling
        self._stage = filling.stage
        # The keys of a batch are one text, in half the memory: a queue may hold millions.
        self._queue = deque("\n".join(batch) for batch in filling.batches if batch)
        self._num_queued = filling.num_missing
        self._later: deque[str] = deque()
        self._waiting = Waiting()  # for who has claimed what is in `_later`
        self._claims = filling.stage.place.claims()
        filling.owner = self._claims.owner
        filling.renew = self._renew

    def run(self, make: Make[Any]) -> None:
        """Make the missing rows, or wait for who does."""
        try:
            while not stop_requested():
                batches = self._batches()
                first = next(batches, None)
                if first is not None:
                    self._filling.work(make, chain([first], batches))
                elif not self._later:
                    break
                else:
                    num = sum(map(_num_keys, self._later))
                    self._waiting.wait(self._filling.name, num, self._claims)
                self._queue, self._later = self._later, self._queue
                self._num_queued = sum(map(_num_keys, self._queue))
        finally:
            self._claims.release()

    def _batches(self) -> Iterator[list[str]]:
        """Yield the keys of one claimed batch after the other, as long as there are free ones."""
        while portion := self._take():
            for keys in portion:
                if stop_requested():
                    return
                yield keys

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
        with plain_disk_errors(self._stage.folder):
            shards = unfinished(self._stage)
            self._claims.look()
            self._filling.refresh()
            swept = bool(leftovers(shards, self._claims.owners()))
        with plain_disk_errors(self._stage.folder), self._claims.locked():
            if not self._claims.is_current():
                self._filling.refresh()
            claimed = self._claims.claimed()
            if swept:
                remove_leftovers(shards, self._claims.owners())
            num = self._num_to_claim()
            while self._queue and sum(map(len, portion)) < num:
                batch = self._queue.popleft().split("\n")
                self._num_queued -= len(batch)
                missing = self._filling.missing(batch)
                free = [key for key in missing if key not in claimed]
                if held := [key for key in missing if key in claimed]:
                    self._later.append("\n".join(held))
                    self._waiting.owners.update(claimed[key] for key in held)
                if free:
                    portion.append(free)
            lost = self._claims.take(self._filling.open.claim(portion)) if portion else set()
            if portion and not self._claims.HAS_LOCK:  # whoever had a row has committed it
                self._filling.refresh()
                lost |= set(chain(*portion)).difference(*map(self._filling.missing, portion))
            if lost:
                portion = self._without(lost, portion)
        # Other processes take rows, or leave some to us.
        bar = self._filling.bar
        bar.total = bar.n + self._filling.open.num_to_make + self._num_queued
        return portion, lost

    def _without(self, lost: set[str], portion: list[list[str]]) -> list[list[str]]:
        """Leave rows that others got for later, and return the other ones."""
        self._filling.open.give_up(lost)
        claimed = self._claims.claimed()
        for keys in portion:
            if held := [key for key in keys if key in lost]:
                self._later.append("\n".join(held))
                self._waiting.owners.update(claimed[key] for key in held if key in claimed)
        left = ([key for key in keys if key not in lost] for keys in portion)
        return list(filter(None, left))

    def _num_to_claim(self) -> int:
        """Return the number of rows to claim: fewer towards the end, so that all have work."""
        share = self._num_queued // (4 * len(self._claims.owners()))
        return min(self._filling.shard_size, max(LEAST_CLAIM, share))

    def _renew(self) -> None:
        """Claim the rest of the claimed rows, which tells others that this process works."""
        with plain_disk_errors(self._stage.folder), self._claims.locked():
            if left := self._filling.open.claim([]):
                self._claims.take(left)


def _num_keys(batch: str) -> int:
    """Return the number of keys of a batch in a queue."""
    return batch.count("\n") + 1
