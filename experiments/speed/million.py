"""CPU, memory and files of every stage against the number of rows, without models.

    python -m experiments.speed.million [NUM ...]

Results: `million.md`. The models and the data set are stand-ins (`standins.py`); all else is what
`sip.generate`, `sip.train`, `sip.export` and `sip.tables` run. Each stage runs in a process of its
own, with what the stages before it have left in the store; a fork, so that imports do not count.
"""

import gc
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from sip.classifier.data import SplitData
from sip.classifier.loading import Loading
from sip.classifier.rows import TrainingRows
from sip.config.job import job
from sip.core.progress import silent
from sip.core.stages import StageLog
from sip.core.tars import read_checked
from sip.export.main import Options
from sip.export.main import export as export_run
from sip.jobs.generate import Generation
from sip.jobs.splits import load_splits
from sip.jobs.train_job import TrainJob
from sip.jobs.training import _training_image, generated, run
from sip.pipeline.backoff import settle
from sip.tables.document import document
from sip.tables.layout import TableLayout
from sip.tables.query import select_runs

if TYPE_CHECKING:
    from omegaconf import DictConfig

SIZES = (10_000, 100_000, 1_000_000)
WARM = 200  # rows with which the process first imports what all stages need
SIDE = 16  # px of an image
HERE = "experiments.speed.standins"
SETTINGS = (
    *("metrics=[]", "logger=csv", "runtime.device=cpu", "runtime.num_threads=1"),
    *("augmentation=sip", "backbone=resnet_mini", "classifier=scratch", "classifier.steps=1"),
    *("classifier.val_every=1", "classifier.warmup_steps=0", "runtime.memory_gib=0"),
    *("runtime.loader_workers=0", "images.storage=webdataset"),
)
Stage = Callable[["DictConfig", Path], Callable[[], object]]  # prepares, and returns the work


@dataclass(frozen=True)
class Cost:
    """What a stage took in a process of its own.

    Attributes:
        stage: Its name.
        num: Rows.
        cpu, wall: Seconds.
        growth: Largest resident memory less that of the process before it had a row, bytes.
        files: Files that appeared.
    """

    stage: str
    num: int
    cpu: float
    wall: float
    growth: int
    files: int


def main(sizes: Sequence[int] = SIZES, folder: str = ".") -> None:
    """Measure all stages at each size in a temporary folder of the working directory; print.

    What each stage took is printed as it ends. The folder is deleted at the end of a size, and at
    SIGINT and SIGTERM; a million rows need 8 GB in it, and 1 GB in `TMPDIR`.
    """
    with temporary(folder) as root:
        for stage in STAGES:
            run_stage(stage, WARM, root)
    gc.collect()
    gc.freeze()  # what is imported is no stage's: few of them import all of it
    costs: dict[tuple[str, int], Cost] = {}
    for num in sizes:
        with temporary(folder) as root:
            for stage in STAGES:
                print(f"{time.strftime('%H:%M:%S')} {stage}, {num:,} rows", file=sys.stderr)
                costs[stage, num] = cost = in_process(stage, num, root)
                print(cost, file=sys.stderr, flush=True)
    print(table(costs, sizes))
    print(f"\n{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


@contextmanager
def temporary(folder: str) -> Iterator[Path]:
    """Give a temporary folder in another one."""
    with tempfile.TemporaryDirectory(prefix="sip-million-", dir=folder) as root:
        yield Path(root)


def table(costs: dict[tuple[str, int], Cost], sizes: Sequence[int]) -> str:
    """Return the costs a row of each stage as a Markdown table.

    Memory is that of the rows above the first size, which leaves out what does not grow; of one
    size, all of it.
    """
    first, larger = sizes[0], sizes[1:] or sizes
    heads = [f"CPU, us, {num:,}" for num in sizes] + [f"memory, bytes, {num:,}" for num in larger]
    heads += [f"{what}, {sizes[-1]:,}" for what in ("files", "wall, s")]
    lines = [" | ".join(["stage", *heads]), " | ".join(["---", *("---:" for _ in heads)])]

    def growth(stage: str, num: int) -> float:
        if num == first:
            return costs[stage, num].growth / num
        return (costs[stage, num].growth - costs[stage, first].growth) / (num - first)

    for stage in STAGES:
        cpu = [f"{1e6 * costs[stage, num].cpu / num:,.0f}" for num in sizes]
        memory = [f"{growth(stage, num):,.0f}" for num in larger]
        last = costs[stage, sizes[-1]]
        lines.append(" | ".join([stage, *cpu, *memory, f"{last.files:,}", f"{last.wall:,.0f}"]))
    total = [f"{1e6 * sum(costs[s, num].cpu for s in STAGES) / num:,.0f}" for num in sizes]
    most = [f"{max(growth(s, num) for s in STAGES):,.0f}" for num in larger]
    at = [costs[stage, sizes[-1]] for stage in STAGES]
    cells = [f"{sum(cost.files for cost in at):,}", f"{sum(cost.wall for cost in at):,.0f}"]
    lines.append(" | ".join(["all; of memory the most", *total, *most, *cells]))
    return "\n".join(f"| {line} |" for line in lines)


def in_process(stage: str, num: int, folder: Path) -> Cost:
    """Return the cost of a stage in a process of its own."""
    before = _num_files(folder)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=lambda: there.send(run_stage(stage, num, folder)))
    child.start()
    there.close()
    try:
        cpu, wall, growth = here.recv()
    except EOFError:
        raise RuntimeError(f"{stage} with {num:,} rows ended with an error") from None
    child.join()
    return Cost(stage, num, cpu, wall, growth, _num_files(folder) - before)


def _num_files(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def run_stage(stage: str, num: int, folder: Path) -> tuple[float, float, int]:
    """Run a stage in this process; return CPU and wall time in s, and growth in bytes."""
    with configured(num, folder) as config, silent():
        empty = _memory("VmRSS")
        work = STAGES[stage](config, folder)
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return cpu, wall, max(0, _memory("VmHWM") - empty)


def _memory(name: str) -> int:
    """Return the resident memory now, from which on the largest counts, or the largest; bytes."""
    if name == "VmRSS":
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = re.findall(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(line) * 1024


@contextmanager
def configured(num: int, folder: Path) -> Iterator["DictConfig"]:
    """Give the configuration of a job with the stand-ins, which may be built meanwhile."""
    places = [f"paths.{name}={folder / name}" for name in ("store", "runs", "data")]
    trusted = patch.dict(os.environ, SIP_TRUSTED="experiments")
    with trusted, job("generate", [*SETTINGS, *places]) as config:
        root = str(folder / "originals")
        config.dataset = {"_target_": f"{HERE}.Repeated", "root": root, "num": num, "side": SIDE}
        config.captions = {"_target_": f"{HERE}.Captions"}
        config.scores = {"_target_": f"{HERE}.Scores"}
        kept = ("per_sample", "max_failed", "storage", "balance", "max_per_sample")
        values = {name: config.images[name] for name in kept}
        config.images = {
            **values,
            **{"_target_": f"{HERE}.Passing", "size": SIDE, "aspect": "square", "format": "png"},
        }
        yield config


def generation(config: "DictConfig") -> Generation:
    """Return the generation of a configuration."""
    return Generation(config, show=lambda text: None)


def plan(config: "DictConfig", folder: Path) -> Callable[[], object]:
    """What `plan=true` does."""
    config.plan = True
    return generation(config).plan


def captions(config: "DictConfig", folder: Path) -> Callable[[], object]:
    """Captions of all originals are made and committed."""
    work = generation(config)
    samples = work.samples()
    return lambda: work.offline._captions(samples, work.stages)


def scores(config: "DictConfig", folder: Path) -> Callable[[], object]:
    """Scores of all captions are made and committed."""
    work = generation(config)
    samples = work.samples()
    captions = work.offline._captions(samples, work.stages)
    return lambda: work.offline._scores(samples, captions, work.stages)


def prompts(config: "DictConfig", folder: Path) -> Callable[[], object]:
    """Captions and scores are read, and the list of prompts is written."""
    work = generation(config)
    samples = work.samples()
    return lambda: work.offline.prompts(samples, work.stages)


def images(config: "DictConfig", folder: Path) -> Callable[[], object]:
    """The images are generated and committed."""
    work = generation(config)
    listed, _ = work.offline.prompts(work.samples(), work.stages)
    return lambda: settle(work.offline, listed, work.dataset.class_names, work.stages)


def read_back(config: "DictConfig", folder: Path) -> Callable[[], object]:
    """Rows and files are read in the order of the prompts, and checksums compared."""
    work = generation(config)
    listed, candidates = work.offline.prompts(work.samples(), work.stages)

    def read() -> None:
        stored = work.offline.images(listed, candidates)
        deque((read_checked(image.file, image.row.file_sha256) for image in stored), maxlen=0)

    return read


def second(config: "DictConfig", folder: Path) -> Callable[[], object]:
    """The whole command again, with all rows cached: the plan, and the run folder is written."""
    work = generation(config)
    return work.run


def reader(config: "DictConfig", folder: Path) -> Callable[[], object]:
    """As many training images as there are generated ones go through the training's reader."""
    arm = TrainJob(config)
    splits, _ = load_splits(arm, StageLog())
    assert arm.offline is not None
    found, _ = generated(arm, arm.offline, splits, StageLog())
    rows = TrainingRows(splits["train"], map(_training_image, found))
    steps = -(-len(found) // arm.classifier.batch_size)

    def read() -> None:
        recipe = replace(arm.classifier, steps=steps)
        loading = Loading.of(config.runtime)
        parts = rows, splits["val"], splits["test"]
        mode = arm.augmentation.offline
        data = SplitData(*parts, SIDE, (), recipe, 0, loading, mode, num_classes=100)
        deque(data.train_dataloader(), maxlen=0)

    return read


def train(config: "DictConfig", folder: Path) -> Callable[[], object]:
    """What `sip.train` does next to its steps, of which there is one."""
    config.train.leaks = False  # would decode all originals, which are a few files
    arm = TrainJob(config)
    return lambda: run(arm)


def export(config: "DictConfig", folder: Path) -> Callable[[], object]:
    """What `sip.export format=webdataset` does."""
    (run,) = (folder / "runs").glob("generate-*")
    options = Options(run, folder / "export", "webdataset", ["train"], "none", False, 1000, None)
    return lambda: export_run(options)


def tables(config: "DictConfig", folder: Path) -> Callable[[], object]:
    """What `sip.tables` does with the one training run."""
    with job("tables", [], "tables") as own:
        layout = TableLayout.of(own.table)
    return lambda: document(select_runs(folder / "runs", (), layout.where, []), layout, ())


STAGES: dict[str, Stage] = {
    "plan": plan,
    "captions": captions,
    "scores": scores,
    "prompts": prompts,
    "images": images,
    "read back": read_back,
    "second start": second,
    "training's reader": reader,
    "training": train,
    "export": export,
    "tables": tables,
}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    main([int(num) for num in sys.argv[1:]] or SIZES)
