"""Steady rate and start-up of the executors, next to the bare forwards, with two processes each.

    python -m experiments.speed.executors [NUM_IMAGES [TURNS]]

Results: `executors.md`. All three generate the same batches with the embedded profile's model on
one thread a process: the floor runs only the model, on inputs that it read before; local is two
processes that claim batches of one store; Ray is a driver with two actors. They take turns. The
steady rate is that after a quarter of the images; before it processes start and load.
"""

import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median

import psutil

from sip.benchmark.workload import make_prompts
from sip.core.machine import processor
from sip.core.stages import StageLog
from sip.images.batches import group_rows
from sip.pipeline.offline import Offline
from sip.prompts.base import Prompt
from tests.composing import composed

NUM_IMAGES, TURNS = 480, 3
PROCESSES, BATCH = 2, 8
WARM = 0.25  # share of the images after which the steady rate begins
EVERY = 0.1  # s between looks at what is done
SETTINGS = (
    "runtime.num_threads=1",
    f"runtime.batch_size.images={BATCH}",
    f"runtime.shard_size={BATCH}",  # what is done can be counted in the store
)
EXECUTORS = {
    "floor": (),
    "local": ("executor=local",),
    "ray": (
        "executor=ray",
        f"executor.images.min_size={PROCESSES}",
        f"executor.images.max_size={PROCESSES}",
    ),
}
HEADER = ("", "start, s", "CPU of it, s", "steady, images/s", "CPU an image, ms", "of local's rate")


def generate(name: str, folder: Path, num: int) -> None:
    """Be one process of an executor; of Ray, the driver."""
    offline, prompts = _workload(name, folder, num)
    offline.generate(prompts, StageLog())


def forwards(index: int, folder: Path, num: int) -> None:
    """Be one process of the floor: run the model, and note how many images are through."""
    import torch

    from sip.pipeline.makers import read_prompts

    offline, prompts = _workload("floor", folder, num)
    batches = list(group_rows(prompts, BATCH, offline.generator.group))[index::PROCESSES]
    module = offline.models.module("images").eval()
    sources = [frozenset(prompt.source_sha256 for prompt in batch) for batch in batches]
    read = [
        read_prompts(offline.generator, batch, each, BATCH)
        for batch, each in zip(batches, sources, strict=True)
    ]
    with torch.inference_mode(), (folder / f"done{index}").open("w") as file:
        for batch, each in zip(batches, read, strict=True):
            module.predict_step(each)
            print("." * len(batch), end="", file=file, flush=True)


def _workload(name: str, folder: Path, num: int) -> tuple[Offline, list[Prompt]]:
    """Return the stages with a store in `folder`, and the prompts, those of all processes."""
    offline = Offline(composed(*SETTINGS, *EXECUTORS[name], folder=folder))
    own = Path(tempfile.mkdtemp(dir=folder))  # processes write the same source images
    return offline, make_prompts(offline, num, own)


def start(name: str, folder: Path, num: int) -> None:
    """Be the parent of an executor's processes."""
    work: Callable[..., None] = forwards if name == "floor" else generate
    own = [(n,) for n in range(PROCESSES)] if name == "floor" else [(name,)] * PROCESSES
    context = multiprocessing.get_context("spawn")
    jobs = [
        context.Process(target=work, args=(*first, folder, num))
        for first in (own[:1] if name == "ray" else own)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    sys.exit(any(job.exitcode for job in jobs))


def num_done(folder: Path) -> int:
    """Return how many images are through."""
    stored = sum(1 for _ in folder.glob("store/images/*/shards/*/*.png"))
    return stored + sum(file.stat().st_size for file in folder.glob("done*"))


def cpu_of(process: psutil.Process, seen: dict[int, float]) -> float:
    """Return s of CPU of a process and all that it started, ended ones included."""
    with suppress(psutil.Error):
        for each in [process, *process.children(recursive=True)]:
            with suppress(psutil.Error):
                times = each.cpu_times()
                seen[each.pid] = times.user + times.system
    return sum(seen.values())


def measure(name: str, num: int) -> tuple[float, ...]:
    """Return s until the first images, CPU of it; then images/s, and s of CPU an image."""
    with tempfile.TemporaryDirectory(prefix="sip-executors-", dir=".") as place:
        folder, seen, looks = Path(place).absolute(), dict[int, float](), [(0, 0.0, 0.0)]
        command = [sys.executable, "-m", __spec__.name, name, str(folder), str(num)]
        began = time.monotonic()
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as job:
            process = psutil.Process(job.pid)
            while job.poll() is None:
                done = num_done(folder)
                if done > looks[-1][0]:
                    looks.append((done, time.monotonic() - began, cpu_of(process, seen)))
                time.sleep(EVERY)
        if job.returncode:
            raise SystemExit(f"{name}: ended with exit code {job.returncode}")
    _, first, first_cpu = looks[1]
    warm = next(look for look in looks if look[0] >= WARM * num)
    images, seconds, cpu = (b - a for a, b in zip(warm, looks[-1], strict=True))
    return first, first_cpu, images / seconds, cpu / images


def table(found: dict[str, list[tuple[float, ...]]]) -> str:
    """Return the medians as Markdown; ratios are within turns."""
    lines = [HEADER, ("---", *["---:"] * (len(HEADER) - 1))]
    for name, turns in found.items():
        first, first_cpu, rate, cpu = (median(column) for column in zip(*turns, strict=True))
        pairs = zip(turns, found["local"], strict=True)
        ratio = median(own[2] / local[2] for own, local in pairs)
        cells = (f"{first:.1f}", f"{first_cpu:.1f}", f"{rate:.1f}", f"{1000 * cpu:.0f}")
        lines.append((name, *cells, f"{ratio:.2f}"))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(num: int = NUM_IMAGES, turns: int = TURNS) -> None:
    """Let the executors take turns, and print the medians."""
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in EXECUTORS}
    for turn in range(turns):
        for name, measured in found.items():
            measured.append(measure(name, num))
            print(f"turn {turn + 1} {name}: {measured[-1][2]:.1f} images/s", file=sys.stderr)
    print(f"{num} images, {PROCESSES} processes, {turns} turns; {processor()}\n\n{table(found)}")


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in EXECUTORS:
        start(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main(*map(int, sys.argv[1:]))
