"""Kills a generation job at random moments until it was killed often enough; for test_kills.

    python tests/kills.py FOLDER NUM_KILLS SEED

Every attempt is a fork of this process, which has imported and loaded everything, so that an
attempt spends its time on the work itself. When a job comes to its end, its store is compared with
that of an unbroken job, and the next job starts with an empty one. Prints what was killed when.
"""

import contextlib
import json
import os
import random
import signal
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from threading import RLock

import torch
from omegaconf import DictConfig
from tqdm import tqdm

from sip.core.tars import read_bytes
from sip.jobs.generate import Generation
from sip.store.shards import read_columns, read_rows
from tests.composing import composed

OVERRIDES = (
    "dataset.shots=2",
    "images.num_steps=4",
    "images.per_sample=2",
    "runtime.device=cpu",
    "runtime.num_threads=1",
    "runtime.batch_size.captions=3",
    "runtime.batch_size.scores=7",
    "runtime.batch_size.images=5",
    "runtime.shard_size=6",
    "prompts.noise_rate=0.5",
)


def configuration(folder: Path, *more: str) -> DictConfig:
    """Return a small job whose store lies in `folder`."""
    return composed(*OVERRIDES, *more, folder=folder)


def run(config: DictConfig, loaded: Generation | None = None) -> Generation:
    """Do the job, silently, with the models of another one that is through."""
    job = Generation(config)
    if loaded is not None:
        samples = loaded.samples()
        job.samples = lambda: samples
        job.offline.models._modules |= loaded.offline.models._modules
    job.offline.models.drop = lambda name: None
    silent = open(os.devnull, "w")  # noqa: SIM115
    with contextlib.redirect_stderr(silent), contextlib.redirect_stdout(silent):
        job.run()
    return job


def contents(store: Path) -> dict[str, dict]:
    """Return "stage/key" -> row with the file's bytes; without the seconds that it took.

    Raises:
        AssertionError: A row is there twice, or something unfinished is left.
    """
    rows: dict[str, dict] = {}
    for stage in sorted(path.parent for path in store.glob("*/*/recipe.json")):
        for shard in sorted((stage / "shards").iterdir()):
            for row in read_rows(shard, set(read_columns(shard, ["key"])["key"])):
                name = f"{stage.parent.name}/{row['key']}"
                assert name not in rows, f"{name} was made twice"
                row.pop("seconds", None)
                row["bytes"] = read_bytes(row.pop("file")) if row.get("file") else None
                rows[name] = row
        assert not list((stage / "tmp").iterdir()), "an unfinished shard is left"
    return rows


def attempt(config: DictConfig, loaded: Generation, seconds: float) -> bool:
    """Run the job in a child and kill it after `seconds`; return whether it reached its end."""
    pid = os.fork()
    if pid == 0:
        code = 1
        tqdm.set_lock(RLock())  # its own lock is shared with forks, and is not dropped by a kill
        try:
            run(config, loaded)
            code = 0
        finally:
            os._exit(code)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0, "the job failed without a kill"
            return True
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def stage(store: Path) -> str:
    """Return the last stage that has rows."""
    stages = {path.parents[2].name for path in store.glob("*/*/shards/*")}
    return next(
        (stage for stage in ("embeddings", "images", "scores", "captions") if stage in stages),
        "none",
    )


def main() -> None:
    """Kill, compare, print."""
    folder, num_kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    warnings.simplefilter("ignore", DeprecationWarning)  # fork: this process has one thread
    torch.set_num_threads(1)
    clock = random.Random(seed)
    whole = configuration(folder / "whole", *sys.argv[4:])
    loaded = run(whole)
    started = time.monotonic()
    run(configuration(folder / "again", *sys.argv[4:]), loaded)
    longest = 0.5 * (time.monotonic() - started)  # until a kill, so that few attempts suffice
    expected = contents(folder / "whole" / "store")
    assert contents(folder / "again" / "store") == expected
    kills: Counter[str] = Counter()
    jobs = 0
    while kills.total() < num_kills:
        broken = folder / f"broken{jobs}"
        config = configuration(broken, *sys.argv[4:])
        while not attempt(config, loaded, clock.uniform(0, longest)):
            kills[stage(broken / "store")] += 1
        assert contents(broken / "store") == expected, f"job {jobs} differs from an unbroken one"
        jobs += 1
    print(f"up to {longest:.2f} s until a kill", file=sys.stderr)
    print(json.dumps({"kills": kills.total(), "jobs": jobs, "after rows of": kills}))


if __name__ == "__main__":
    main()
