"""Workers that are numbered: worker i of n makes the batches i, i + n, i + 2n, ... of a stage.

For SLURM arrays and Kubernetes jobs. Nothing is locked or claimed, so that any storage will do.
Each worker then waits for the rows of the others. If none is committed for `patience` seconds, it
makes what is missing itself. Two workers may then make the same row; both commit equal ones, since
a batch has the same rows whoever makes it, and the store shows the first.
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from typing import Annotated, Any

from pydantic import Field

from sip.core.component import component, refuse
from sip.core.errors import UserError
from sip.core.interrupt import stop_requested
from sip.core.progress import progress, say
from sip.core.ranges import Count
from sip.core.text import counted
from sip.device.settings import Devices
from sip.executor.base import Executor
from sip.store.filling import Filling, Make, remove_leftovers, unfinished
from sip.store.stage import StageStore

POLL_EVERY = 0.5  # s between two looks at what the other workers have committed
LOOK_EVERY = 30.0  # s between two looks while this worker makes its own batches
LOOK_SHARE = 20  # the time between two looks is at least so many times that of a look

Index = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


@component
class Static(Executor):
    """Worker `index` of `count`.

    Args:
        index: Number of this worker, from 0; None: of the SLURM array or the Kubernetes job.
        count: Number of workers; None: of the SLURM array.
        patience: Seconds without a new row of another worker, after which its rows are made here.
    """

    index: Index | None
    count: Count | None
    patience: Seconds

    @property
    def place(self) -> tuple[int, int]:
        """Number of this worker and number of all.

        Raises:
            UserError: They are neither configured nor in the environment, or do not fit.
        """
        index, count = self.index, self.count
        if index is None:
            index = _index()
        if count is None:
            count = _variable("SLURM_ARRAY_TASK_COUNT")
        if index is None or count is None:
            name = "index" if index is None else "count"
            where = "a SLURM array" + " or an indexed Kubernetes job" * (index is None)
            fix = f"set executor.{name}, or start the command in {where}"
            raise refuse(f"executor.{name}", "known to executor=static", None, fix)
        if index >= count:
            fix = "number the workers from 0, or set executor.index and executor.count"
            raise refuse("executor.index", f"less than executor.count={count}", index, fix)
        return index, count

    def check(self, devices: Devices) -> None:
        """Check that this worker knows its number, and has one device."""
        if devices.several:
            fix = "start a worker for each device"
            raise refuse("trainer.devices", "1 with executor=static", devices.devices, fix)
        _ = self.place

    @property
    def num_workers(self) -> int:
        """Number of workers; 1 where a plan cannot know it."""
        return self.count or _variable("SLURM_ARRAY_TASK_COUNT") or 1

    @property
    def is_first(self) -> bool:
        """Whether this is worker 0."""
        return self.place[0] == 0

    def by_itself(self) -> Executor:
        """Return an executor that makes all batches in this process."""
        return Static(0, 1, self.patience)

    def run(self, filling: Filling[Any], make: Make[Any]) -> None:
        """Make this worker's batches, wait for the rest, and take over what does not come."""
        index, count = self.place
        filling.owner += f"-{index}"
        own = filling.batches[index::count]
        filling.bar.total = sum(map(len, own))
        filling.work(make, handed_out(filling, own, LOOK_EVERY))
        left = list(filter(None, filling.batches))
        while left := self._wait(filling, left):
            say(
                filling.name,
                f"no new row for {self.patience:g} s: worker {index} makes the missing "
                f"{counted(_num(left), filling.unit)}",
            )
            filling.shard_size = 1  # each batch is committed at once, so that others leave it out
            filling.bar.total = filling.bar.n + _num(left)
            start = len(left) * index // count  # no two workers begin at the same place
            filling.work(make, handed_out(filling, left[start:] + left[:start], 0.0))
        self.sweep(filling.stage)

    def sweep(self, stage: StageStore) -> None:
        """Remove what was left unfinished and has not changed for a day."""
        with suppress(OSError, UserError):
            remove_leftovers(unfinished(stage), None)

    def _wait(self, filling: Filling[Any], batches: list[Sequence[str]]) -> list[Sequence[str]]:
        """Return what is missing when no row has been committed for `patience`; [] if nothing."""
        left = _left(filling, batches)
        num, changed = _num(left), time.monotonic()
        if not left or stop_requested():
            return []
        say(filling.name, f"waiting for {counted(num, filling.unit)} of other workers")
        with closing(progress(filling.name, num, filling.unit)) as bar:
            while left and not stop_requested():
                if time.monotonic() - changed >= self.patience:
                    return left
                began = time.monotonic()
                filling.refresh()
                left = _left(filling, left)
                if new := num - _num(left):
                    bar.update(new)
                    num, changed = num - new, time.monotonic()
                time.sleep(max(POLL_EVERY, LOOK_SHARE * (time.monotonic() - began)) if left else 0)
        return []


def handed_out(
    filling: Filling[Any], batches: Iterable[Sequence[str]], look_every: float
) -> Iterator[list[str]]:
    """Yield the missing keys of one batch after the other, and note them as handed out.

    Args:
        filling: What is missing.
        batches: Keys; none occurs twice.
        look_every: Seconds between two looks at what others have committed.
    """
    looked = time.monotonic()
    for batch in batches:
        if stop_requested():
            return
        if batch and time.monotonic() - looked >= look_every:
            filling.refresh()
            looked = time.monotonic()
        if keys := filling.missing(batch):
            filling.open.claim([keys])
            yield keys


def _left(filling: Filling[Any], batches: Iterable[Sequence[str]]) -> list[Sequence[str]]:
    return [keys for batch in batches if (keys := filling.missing(batch))]


def _num(batches: Iterable[Sequence[str]]) -> int:
    return sum(map(len, batches))


def _index() -> int | None:
    """Return the number that SLURM or Kubernetes gives this worker, from 0."""
    if (number := _variable("SLURM_ARRAY_TASK_ID")) is not None:
        first, step = _variable("SLURM_ARRAY_TASK_MIN"), _variable("SLURM_ARRAY_TASK_STEP")
        return (number - (first or 0)) // (step or 1)
    return _variable("JOB_COMPLETION_INDEX")


def _variable(name: str) -> int | None:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else None
