"""CPU time of the store's own work: claims of many owners, and rows in another order.

    python -m experiments.speed.store

Results: `store.md`.
"""

import json
import random
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

from sip.store.claims import Claims
from sip.store.fill import fill
from sip.store.filling import Add
from sip.store.stage import Store

KEYS = 1_536  # of one claim: the open shard and the batches behind it
REPEATS = 9
SIZES = (64, 512)  # rows of a shard
SHUFFLED = 16_384  # rows that are read in another order
PAYLOAD = bytes(3_000)


def main(owners: tuple[int, ...] = (64, 1_000), num_rows: int = 100_000) -> None:
    """Measure in a temporary folder of the working directory and print."""
    with tempfile.TemporaryDirectory(prefix="sip-store-", dir=".") as folder:
        print(_head("owners", "claims changed since", "take, ms", "under the lock, ms"))
        for num in owners:
            for changed, whole, locked in takes(Path(folder) / f"claims-{num}", num):
                print(f"| {num:,} | {changed:,} | {whole:,.1f} | {locked:.1f} |", flush=True)
        some = f"read shuffled, {min(SHUFFLED, num_rows):,}"
        head = "rows in a shard", "write", "index", "read in order", some, "read shuffled, all"
        print(f"\n{_head(*head)}")
        for size in SIZES:
            seconds = " | ".join(
                f"{s:.2f}" for s in reads(Path(folder) / f"{size}", num_rows, size)
            )
            print(f"| {size} | {seconds} |", flush=True)
    print(f"\n{num_rows:,} rows of {len(PAYLOAD):,} bytes; seconds of CPU.")


def _head(*columns: str) -> str:
    return f"| {' | '.join(columns)} |\n|{'---:|' * len(columns)}"


def takes(folder: Path, num: int) -> Iterator[tuple[int, float, float]]:
    """Yield claims that changed between two takes, and a take's ms of CPU: whole, under the lock.

    The owners are on other machines and alive; their claims are written as they write them.
    """
    folder.mkdir()
    claims, numbers = Claims(folder), dict.fromkeys(range(num), 0)

    def renew(owner: int) -> None:
        name, number = f"elsewhere.1-1-{owner:08x}", numbers[owner]
        keys = [f"{owner:08x}{number:04x}{key:012x}" for key in range(KEYS)]
        claim = {"host": "elsewhere.1", "pid": 1, "started": "1", "keys": keys}
        (folder / f"{name}.{number + 1}.json").write_text(json.dumps(claim))
        (folder / f"{name}.{number}.json").unlink(missing_ok=True)
        (folder / "lock").write_text(uuid.uuid4().hex)
        numbers[owner] += 1

    for owner in numbers:
        renew(owner)
    _take(claims)
    for changed in (0, 1, num):
        spent = []
        for _ in range(REPEATS if changed < num else 3):
            for owner in range(changed):
                renew(owner)
            spent.append(_take(claims))
        yield changed, median(whole for whole, _ in spent), median(locked for _, locked in spent)
    claims.release()


def _take(claims: Claims) -> tuple[float, float]:
    """Claim rows as `fill` does."""
    started = time.thread_time()
    claims.look()
    with claims.locked():
        locked = time.thread_time()
        claimed = claims.claimed()
        claims.take([key for key in (f"{n:024d}" for n in range(KEYS)) if key not in claimed])
        now = time.thread_time()
    return 1e3 * (now - started), 1e3 * (now - locked)


def reads(root: Path, num: int, size: int) -> Iterator[float]:
    """Yield s of CPU: writing rows, listing them, reading all, some shuffled, all shuffled."""
    wanted = {f"{n:024x}": n for n in range(num)}
    keys = list(wanted)
    some, shuffled = (random.Random(0).sample(keys, k) for k in (min(SHUFFLED, num), num))
    stage = Store(root).stage("images", "through", {"size": size})
    yield _cpu(lambda: fill(stage, wanted, _through, 16, size, storage="webdataset"))
    fresh = Store(root).stage("images", "through", {"size": size})
    yield _cpu(fresh.refresh)
    for order in (keys, some, shuffled):
        yield _cpu(partial(deque, fresh.each(order), maxlen=0))


def _through(batches: Iterator[list[int]], add: Add) -> None:
    for batch in batches:
        for n in batch:
            row = {"key": f"{n:024x}", "label": n % 10, "prompt": f"a photo of thing {n}"}
            add({**row, "seed": n, "status": "ok", "payload": PAYLOAD, "suffix": ".png"})


def _cpu(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


if __name__ == "__main__":
    main()
