"""Filling a stage: batches are shared out, made by a function, and committed as shards."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sip.executor.base import Executor
from sip.executor.local import Local
from sip.store.filling import Filling, Input, Make
from sip.store.stage import Row, StageStore


def cut(keys: Iterable[str], size: int) -> Iterator[Sequence[str]]:
    """Cut keys into batches of `size`."""
    keys = iter(keys)
    while batch := list(islice(keys, size)):
        yield batch


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
    executor: Executor | None = None,
) -> Filled:
    """Return all wanted rows: read those that exist, and have the missing ones made.

    Rows are made in batches, and some batches together become one shard. If several processes need
    the same row, the executor says which of them makes it; the others wait and read.

    Args:
        stage: StageStore of the rows.
        wanted: Key -> what `make` needs in order to make that row.
        make: Takes an iterator of batches, lists of inputs, and a function `add`; hands a row
            for each input to `add`, in any order, from one thread at a time. The iterator may
            be pulled from another thread, and hands rows out as it goes. It ends early if a stop
            was requested. A row has its "key"; its "payload" (bytes), if any, is stored, and "file"
            is the path when the row is read. One with "status" "failed" is kept too.
        batches: Keys that are made together, or how many; a batch is committed as a whole, so
            that a run that was killed goes on with the same batches as an unbroken one.
        shard_size: Rows that are committed together, if they are made within `COMMIT_EVERY`;
            what a kill can cost at most, next to the batches at work.
        storage: How payloads are stored: "files" or "webdataset".
        name: Title of the progress bar; the stage's name if None.
        unit: Name of a row in the progress bar.
        retry_failed: Make failed rows again.
        executor: Decides which process makes which batch; None: `Local`, by claims.

    Raises:
        Stopped: SIGINT or SIGTERM was received; all rows that were made are committed.
        Exception: What `make` raises, once the rows that it added before are committed.
    """
    stage.refresh()
    executor = executor or Local()
    if not any(stage.lacks(key, retry_failed) for key in wanted):
        executor.sweep(stage)
        return Filled(stage, wanted, len(wanted), 0, 0)
    if isinstance(batches, int):
        batches = cut(wanted, batches)
    filling = Filling(stage, wanted, batches, shard_size, storage, retry_failed)
    missing = filling.num_missing
    with filling.begun(name or stage.name, unit):
        executor.run(filling, make)
    stage.place.tidy()
    made = filling.computed
    return Filled(stage, wanted, len(wanted) - missing, made, missing - made)
