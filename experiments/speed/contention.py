"""How long many workers wait for work if they take and commit rows of one store at once.

    python -m experiments.speed.contention [WORKERS [SECONDS]]

Results: `contention.md`. A worker is a process that fills the stage as any other; only its model
is a pause, as long as a GPU would take for the rows. The time begins when all are prepared. Each
claims first at a moment of its own within the time of a claim's rows, since workers do not march in
step.
"""

import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sip.core.interrupt import Stopped
from sip.core.progress import silent
from sip.executor.local import Claiming
from sip.store.fill import fill
from sip.store.filling import Add
from sip.store.stage import StageStore, Store

WORKERS, SECONDS = 64, 60.0
BATCH = 16  # rows
SHARD_SIZE = 64  # rows of a shard, and of a claim: an eighth of the default, for more of both
RATE = 4.0  # rows/s of a worker
PAYLOAD = bytes(3_000)
PERCENT = (50, 90, 99, 100)


@dataclass(frozen=True)
class Takes:
    """What the workers did.

    Attributes:
        waits: Seconds of each claim of work, from asking to having it.
        cpu: Seconds of CPU of each.
        rows: Rows that were committed.
        keys: Different ones among them.
        shards: Shards that were committed.
        seconds: From the first claim to the last commit.
    """

    waits: list[float]
    cpu: list[float]
    rows: int
    keys: int
    shards: int
    seconds: float


def main(workers: int = WORKERS, seconds: float = SECONDS) -> None:
    """Measure in a temporary folder of the working directory and print."""
    with tempfile.TemporaryDirectory(prefix="sip-contention-", dir=".") as folder:
        found = measure(Path(folder), workers, seconds)
    cells = [f"{value:,.1f}" for value in np.percentile(found.waits, PERCENT) * 1e3]
    heads = "workers", "claims", "median, ms", "90 %, ms", "99 %, ms", "longest, ms", "CPU, ms"
    cells = [str(workers), f"{len(found.waits):,}", *cells, f"{1e3 * np.median(found.cpu):,.1f}"]
    print(f"| {' | '.join(heads)} |\n|{'---:|' * len(heads)}\n| {' | '.join(cells)} |")
    print(
        f"\n{found.rows:,} rows in {found.shards:,} shards in {found.seconds:.0f} s, "
        f"{found.rows - found.keys} twice; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )


def measure(folder: Path, workers: int, seconds: float) -> Takes:
    """Let workers fill a stage for some seconds."""
    context = multiprocessing.get_context("forkserver")
    # Imported once. Not this module: a worker runs it again by name, and would be warned of it.
    context.set_forkserver_preload(["numpy", "sip.executor.local", "sip.store.fill"])
    ready = context.Barrier(workers)
    num = int(workers * RATE * seconds) + workers * SHARD_SIZE  # more than they can do
    jobs = [
        context.Process(target=work, args=(folder, number, num, seconds, ready))
        for number in range(workers)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert all(job.exitcode == 0 for job in jobs)
    reports = [json.loads(file.read_text()) for file in folder.glob("*.json")]
    stage = _stage(folder)
    return Takes(
        waits=[wait for report in reports for wait in report["waits"]],
        cpu=[cpu for report in reports for cpu in report["cpu"]],
        rows=sum(report["rows"] for report in reports),
        keys=len(stage.keys()),
        shards=len(stage.names),
        seconds=max(r["ended"] for r in reports) - min(r["started"] for r in reports),
    )


def work(folder: Path, number: int, num: int, seconds: float, ready: Any) -> None:
    """Fill the stage until the time is up; leave a report."""
    waits: list[float] = []
    cpu: list[float] = []
    take = Claiming._take
    started = 0.0

    def timed(self: Claiming) -> list[list[str]]:
        nonlocal started
        if not waits:
            ready.wait()
            started = time.monotonic()
            time.sleep(random.Random(number).random() * min(SHARD_SIZE / RATE, seconds / 2))
        before = time.monotonic(), time.thread_time()
        portion = take(self)
        waits.append(time.monotonic() - before[0])
        cpu.append(time.thread_time() - before[1])
        return portion

    Claiming._take = timed  # type: ignore[method-assign]
    stage = _stage(folder)
    wanted = {f"{n:024x}": n for n in range(num)}
    rows = 0

    def make(batches: Iterator[list[int]], add: Add) -> None:
        nonlocal rows
        for batch in batches:
            time.sleep(len(batch) / RATE)
            for n in batch:
                row = {"key": f"{n:024x}", "label": n % 10, "seed": n, "status": "ok"}
                add({**row, "payload": PAYLOAD, "suffix": ".png"})
                rows += 1
            if time.monotonic() - started > seconds:
                os.kill(os.getpid(), signal.SIGTERM)  # commits, as any job does

    with suppress(Stopped), silent():
        fill(stage, wanted, make, BATCH, SHARD_SIZE, storage="webdataset")
    report = {"waits": waits, "cpu": cpu, "rows": rows}
    times = {"started": started, "ended": time.monotonic()}
    (folder / f"{number}.json").write_text(json.dumps(report | times))


def _stage(folder: Path) -> StageStore:
    return Store(folder / "store").stage("images", "pause", {"version": 1})


if __name__ == "__main__":
    given = sys.argv[1:]
    main(*map(int, given[:1]), *map(float, given[1:2]))
