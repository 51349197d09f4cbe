"""A stage whose rows name the batch that they were made in, and workers that share it out."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sip.core.tars import read_bytes
from sip.executor.base import Executor
from sip.executor.remote import RemoteMake
from sip.store.fill import Filled, fill
from sip.store.filling import Add
from sip.store.shards import read_columns, read_rows
from sip.store.stage import StageStore, Store

BATCH, SHARD = 3, 6


def numbers(count: int) -> dict[str, int]:
    """Return the keys and inputs of so many rows."""
    return {f"k{number:03d}": number for number in range(count)}


def row(number: int, batch: Sequence[int]) -> dict[str, Any]:
    """Return a row that would differ if the batch had other borders; every seventh one fails."""
    payload = f"{number} of {list(batch)}".encode()
    failed = number % 7 == 6
    return {
        "key": f"k{number:03d}",
        "status": "failed" if failed else "ok",
        "payload": None if failed else payload,
        "suffix": ".txt",
    }


@dataclass
class Toy:
    """Makes the rows, here or elsewhere; breaks at some numbers."""

    breaks_at: tuple[int, ...] = ()
    pause: float = 0.0  # s a batch
    before: Callable[[list[int]], None] = lambda batch: None
    batches: list[list[int]] = field(default_factory=list)

    def __call__(self, batches: Iterator[list[int]], add: Add) -> None:
        """Make one batch after the other."""
        for batch in batches:
            self.before(batch)
            self.batches.append(batch)
            for each in RemoteToy(self.breaks_at, self.pause)()(batch):
                add(each)


@dataclass(frozen=True)
class RemoteToy:
    """The same in another process."""

    breaks_at: tuple[int, ...]
    pause: float
    stage: str = "images"
    uses_gpu: bool = False

    def __call__(self) -> Callable[[list[int]], list[dict[str, Any]]]:
        """Return what makes a batch."""
        return self._make

    def _make(self, batch: list[int]) -> list[dict[str, Any]]:
        if set(self.breaks_at) & set(batch):
            raise ValueError("broken")
        time.sleep(self.pause)
        return [row(number, batch) for number in batch]


def expected(count: int) -> dict[str, tuple[str, bytes | None]]:
    """Return key -> status and bytes of a whole job's rows."""
    made = {}
    for start in range(0, count, BATCH):
        batch = range(start, min(start + BATCH, count))
        made |= {r["key"]: (r["status"], r["payload"]) for n in batch for r in [row(n, batch)]}
    return made


def stage(folder: Path | str) -> StageStore:
    """Open the stage, in a folder or a bucket, as a new process would."""
    return Store(folder).stage("toy", "toy", {"v": 1})


def rows(folder: Path | str) -> list[tuple[str, tuple[str, bytes | None]]]:
    """Return what all shards hold, however often."""
    place = stage(folder).place
    found = [
        each
        for shard in (place.shards / name for name in sorted(place.names()))
        for each in read_rows(shard, set(read_columns(shard, ["key"])["key"]))
    ]
    return [
        (each["key"], (each["status"], read_bytes(each["file"]) if each["file"] else None))
        for each in found
    ]


def work(folder: Path | str, executor: Executor, toy: Toy, count: int, **options: Any) -> Filled:
    """Be one worker."""
    make = RemoteMake(toy, RemoteToy(toy.breaks_at, toy.pause)) if executor.is_remote else toy
    return fill(stage(folder), numbers(count), make, BATCH, SHARD, executor=executor, **options)


def together(jobs: Sequence[Callable[[], Any]]) -> list[Any]:
    """Do all of it at once; return the results, or the errors."""
    results: list[Any] = [None] * len(jobs)

    def do(number: int) -> None:
        try:
            results[number] = jobs[number]()
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=do, args=(number,)) for number in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a worker did not end"
    return results
