"""The speed of generation, compared with its bare forwards and with the usual way.

All three take turns in one process, on one list of prompts with mixed guidance scales and noise
rates: (a) the floor (`floor.py`), (b) the engine, from image files to a new store, with its weights
loaded before, and (c) the stock pipeline (`stock.py`), on a sample of the list if all of it takes
long.
"""

import copy
import gc
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sip.benchmark.report import Report, Turn, settings, write
from sip.core.errors import UserError
from sip.core.files import check_output
from sip.core.progress import Progress, progress

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from sip.images.engine import Engine
    from sip.pipeline.offline import Offline
    from sip.prompts.base import Prompt

FULL_SIZE = 512  # px
FULL_NAME = "Stable Diffusion 1.5's true size, random weights, 512 px"
STOCK_SECONDS = 30.0  # of one turn, about; the whole list if that is enough for it


def run(config: "DictConfig") -> None:
    """Measure the configured model, and the full-size one if configured; print.

    Raises:
        UserError: A setting is wrong.
    """
    wants_full = _check(config)
    if config.output:
        check_output(Path(config.output))
    from sip.device.settings import Runtime, set_threads

    set_threads(Runtime.of(config.runtime))
    # In the working directory: the store's disk, not one in memory, is what counts.
    with tempfile.TemporaryDirectory(prefix="sip-generation-", dir=".") as folder:
        place = Path(folder).absolute()
        reports = [_measure(config, str(config.images.model), place / "chosen")]
        try:
            if wants_full:
                full = _full_size(config, place / "full")
                reports.append(_measure(full, FULL_NAME, place / "full"))
        finally:  # what was measured is not lost if the large model does not fit
            write(reports, config.output)


def _check(config: "DictConfig") -> bool:
    """Return whether the full-size model is measured too.

    Raises:
        UserError: A setting is wrong.
    """
    from sip.device.settings import device

    for key in ("repeats", "num_images"):
        if type(config[key]) is not int or config[key] < 1:
            raise UserError(f"{key}: must be a whole number >= 1, got {config[key]!r}")
    if config.full_size not in ("auto", True, False):
        raise UserError(f"full_size: must be auto, true or false, got {config.full_size!r}")
    if config.full_size == "auto":
        return device(config.runtime.device) != "cpu"
    return bool(config.full_size)


def _full_size(config: "DictConfig", folder: Path) -> "DictConfig":
    """Build the model; return the configuration that generates with it, on a GPU in 16 bits."""
    from sip.benchmark.full_size import build_sd15
    from sip.device.settings import device

    full = copy.deepcopy(config)
    if device(config.runtime.device) != "cpu" and config.images.dtype == "float32":
        full.images.dtype = "bfloat16"
    full.images.update(model=str(folder / "model"), revision=None, variant=None, size=FULL_SIZE)
    build_sd15(folder / "model", full.images.dtype)
    return full


def _measure(config: "DictConfig", name: str, folder: Path) -> Report:
    """Return the measurements of one model."""
    from sip.benchmark.workload import make_prompts
    from sip.pipeline.offline import Offline

    config = copy.deepcopy(config)
    config.paths.store = str(folder / "store")
    offline = Offline(config)
    offline.require()
    if not offline.generator.reads_source:
        raise UserError(
            "images: must be an image-to-image model, got one that reads no source images; set "
            "images=img2img"
        )
    prompts = make_prompts(offline, config.num_images, folder / "images")
    offline.generator.check(prompts)
    bench = Bench(offline, prompts, folder)
    report = bench.prepare(name)
    total = config.repeats * (2 * len(prompts) + len(bench.sample))
    with closing(progress("benchmark", total, "image")) as bar:
        for _ in range(config.repeats):
            bench.turns(report, bar)
    return report


class Bench:
    """The three, ready to take turns.

    Args:
        offline: The stages.
        prompts: What is generated.
        folder: For all that is written.
    """

    def __init__(self, offline: "Offline", prompts: "list[Prompt]", folder: Path) -> None:
        from sip.images.batches import group_rows

        self.offline = offline
        self.generator = offline.generator
        self.prompts = prompts
        self.folder = folder
        self.recipe = self.generator.recipe()  # reads all the weights, so not by the clock
        self.batch_size = offline.trials.batch_size("images", prompts)
        self.batches = list(group_rows(prompts, self.batch_size, self.generator.group))
        self.sample: list[Prompt] = []

    def prepare(self, name: str) -> Report:
        """Load and warm up all three; the peak memory is the engine's, before the other two."""
        from sip.benchmark.floor import Floor
        from sip.benchmark.report import peak_memory, reset_peak_memory
        from sip.benchmark.stock import StockLoop

        self.engine: Engine = self.offline.models.module("images")
        reset_peak_memory(self.engine.device)
        rows = self._generate(self.folder / "first")
        memory = peak_memory(self.engine.device)
        self.floor = Floor(self.engine, self.batches)
        flops = self.floor.flops() / len(self.prompts)
        if self.offline.runtime.compile:
            self.floor.run()
        self.stock = StockLoop(self.engine)
        self.sample = self._sample()
        return Report(
            name=name,
            settings=settings(self.engine, self.offline.runtime, self.batch_size),
            evaluations={
                "floor": self.floor.evaluations,
                "engine": sum(row["unet_evaluations"] for row in rows),
                "stock": sum(map(self.generator.num_evaluations, self.sample)),
            },
            num_failed=sum(row["status"] != "ok" for row in rows),
            batch_sizes=[len(batch) for batch in self.batches],
            flops=flops,
            memory=memory,
        )

    def turns(self, report: Report, bar: Progress) -> None:
        """Let each of the three work once."""
        whole, sample = len(self.prompts), len(self.sample)
        report.turns["floor"].append(self._timed(self.floor.run, whole))
        bar.update(whole)
        report.turns["engine"].append(self._timed(self._fill, whole))
        bar.update(whole)
        stock = self.folder / "stock"
        report.turns["stock"].append(
            self._timed(lambda: self.stock.run(self.sample, stock), sample)
        )
        bar.update(sample)
        for written in (stock, self.folder / "engine"):
            shutil.rmtree(written)

    def _fill(self) -> None:
        self._generate(self.folder / "engine")

    def _generate(self, store: Path) -> Sequence[dict[str, Any]]:
        """Generate the list, texts included, into a new store; return its rows."""
        from sip.images.batches import group_rows
        from sip.pipeline.makers import images_maker
        from sip.store.fill import fill
        from sip.store.stage import Store

        self.engine.clear()
        wanted = {prompt.image_id: prompt for prompt in self.prompts}
        stage = Store(store).stage("images", "benchmark", self.recipe)
        batches = list(group_rows(self.prompts, self.batch_size, self.generator.group))
        filled = fill(
            stage,
            wanted,
            images_maker(self.offline.models, wanted, stage, max(map(len, batches))),
            [[prompt.image_id for prompt in batch] for batch in batches],
            self.offline.runtime.shard_size,
            storage=self.generator.storage,
            unit="image",
        )
        return list(filled.rows.values())

    def _sample(self) -> "list[Prompt]":
        """Return the prompts that the stock pipeline gets, as many as time allows; warm it up."""
        from sip.benchmark.workload import BLOCK, sample_of

        typical, warm = self.prompts[1:2] or self.prompts, self.folder / "warm"
        self.stock.run(typical, warm)
        if len(self.prompts) <= BLOCK:
            return self.prompts
        turn = self._timed(lambda: self.stock.run(typical, warm), 1)
        return sample_of(self.prompts, int(STOCK_SECONDS / turn.seconds))

    def _timed(self, work: Callable[[], None], num: int) -> Turn:
        """Time some work on `num` images, to its end on the device."""
        gc.collect()
        self._synchronize()
        started, cpu = time.perf_counter(), time.process_time()
        work()
        self._synchronize()
        return Turn(num, time.perf_counter() - started, time.process_time() - cpu)

    def _synchronize(self) -> None:
        if self.engine.device.type == "cuda":
            import torch

            torch.cuda.synchronize(self.engine.device)
