"""Step 2: generation at real size, against its floor and against the usual way.

The benchmark of `sip.benchmark` with a list that fits into the time: Stable Diffusion 1.5's full
configuration with random weights, 512 px, mixed guidance scales above 1 and noise rates 0.3, 0.5
and 0.7, which are 50 U-Net evaluations (25 guided steps) an image on average. Eager first, so that
a compilation that takes too long costs only the compiled figures.
"""

import shutil
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import hydra
import torch

from experiments.gpu.job import Job, rounded
from experiments.gpu.matmul import measured_tflops
from sip.benchmark.floor import Floor
from sip.benchmark.full_size import build_sd15
from sip.benchmark.generation import FULL_NAME, FULL_SIZE, Bench
from sip.benchmark.report import Report
from sip.benchmark.workload import BLOCK, make_prompts
from sip.core.paths import conf_folder
from sip.core.progress import progress
from sip.images.batches import group_rows
from sip.pipeline.offline import Offline

GUIDED = BLOCK - 1  # rows of a block with a guidance scale above 1
BATCH, TINY_BATCH = 12, 2  # images; the U-Net sees twice as many rows
BLOCKS = 4  # 4 x 9 images: three full batches of 12, one for each noise rate
TINY_ROWS = 3  # one for each noise rate
STEPS, TINY_STEPS = 50, 5
FEW = 4  # guided steps: 8 evaluations an image
COMPILE_SECONDS = 50.0  # that must be left for the compiled figures
MARGIN = 1.5  # times what a turn took must be left for another one
IMAGES_PER_SECOND = {"H200": 8.0, "H100": 6.0}  # to reach


class DayBench(Bench):
    """The benchmark with one block of rows for the stock pipeline, and only the U-Net compiled."""

    def _sample(self) -> list[Any]:
        """Return one block, which costs as much on average as the list; warm up on one row."""
        self.stock.run(self.prompts[:1], self.folder / "warm")
        return self.prompts[: min(GUIDED, len(self.prompts))]

    def _fill(self) -> None:
        """Generate the list into a store that is empty, whatever was generated before."""
        shutil.rmtree(self.folder / "engine", ignore_errors=True)
        super()._fill()

    def pair(self, report: Report) -> None:
        """Let floor and engine work once."""
        report.turns["floor"].append(self._timed(self.floor.run, len(self.prompts)))
        report.turns["engine"].append(self._timed(self._fill, len(self.prompts)))

    def compile(self, backend: str) -> float:
        """Compile the U-Net; return the seconds until the list was generated once."""
        runtime = replace(self.offline.runtime, compile=True)
        self.offline.models.runtime = runtime
        self.offline.models.drop("images")
        self.engine = self.offline.models.module("images")
        family = self.engine.models
        for part in (family.vae.encoder, family.vae.decoder):
            part._compiled_call_impl = None  # one model to compile, not three
        family.denoiser.compile(dynamic=False, backend=backend)
        began = time.perf_counter()
        self._fill()
        self.floor = Floor(self.engine, self.batches)
        self.floor.run()
        self._synchronize()
        return time.perf_counter() - began

    def change(self, rate: float) -> None:
        """Go over to a list with one noise rate."""
        self.prompts = [replace(prompt, noise_rate=rate) for prompt in self.prompts]
        self.batches = list(group_rows(self.prompts, self.batch_size, self.generator.group))
        self.floor = Floor(self.engine, self.batches)
        self._fill()
        self.floor.run()

    def vae_seconds(self) -> float:
        """Time the autoencoder's forwards of the list only."""
        calls = self.floor.calls
        self.floor.calls = [call for call in calls if call.part != "denoise"]
        try:
            self.floor.run()
            return self._timed(self.floor.run, len(self.prompts)).seconds
        finally:
            self.floor.calls = calls


def run(job: Job) -> None:
    """Measure; every figure is recorded when it exists."""
    device = torch.device(job.settings.device)
    peak = measured_tflops(device, job.settings.tiny)
    job.record(matmul_tflops=rounded(peak))
    folder = job.scratch / "generation"
    began = time.perf_counter()
    bench = _bench(job, folder)
    name = "sip/miniature/diffusion" if job.settings.tiny else FULL_NAME
    report = bench.prepare(name)
    job.record(
        model=name,
        settings=report.settings,
        evaluations_an_image=report.evaluations["engine"] / len(bench.prompts),
        tflop_an_image=rounded(report.flops / 1e12),
        failed_images=report.num_failed or None,
        peak_memory={kind: f"{size / 2**30:.2f} GiB" for kind, size in report.memory.items()},
        seconds_to_start=rounded(time.perf_counter() - began),
    )
    stock = _eager(job, bench, report, peak)
    prompts = bench.prompts
    job.record(eager_8_evaluations=_few(bench))
    if not job.settings.tiny and job.left() < COMPILE_SECONDS:
        job.record(compiled=f"skipped: {job.left():.0f} s were left, {COMPILE_SECONDS:.0f} needed")
        return
    bench.prompts = prompts
    bench.batches = list(group_rows(prompts, bench.batch_size, bench.generator.group))
    _compiled(job, bench, report, peak, stock)


def _eager(job: Job, bench: DayBench, report: Report, peak: float) -> float:
    """Measure all three, twice if time allows; return the stock pipeline's images/s."""
    for _ in range(2):
        began = time.perf_counter()
        with closing(progress("generation", 3, "turn")) as bar:
            bench.turns(report, bar)
        stock = median(turn.rate for turn in report.turns["stock"])
        job.record(eager=_figures(report, peak, stock))
        _summary(job, "eager")
        another = MARGIN * (time.perf_counter() - began)
        if job.settings.tiny or job.left() < COMPILE_SECONDS + another:
            break
    return stock


def _compiled(job: Job, bench: DayBench, eager: Report, peak: float, stock: float) -> None:
    """Measure floor and engine with a compiled U-Net."""
    seconds = bench.compile("eager" if job.settings.tiny else "inductor")
    job.record(seconds_to_compile=rounded(seconds))
    report = replace(eager, turns={key: [] for key in eager.turns})
    for _ in range(2):
        began = time.perf_counter()
        bench.pair(report)
        job.record(compiled=_figures(report, peak, stock))
        _summary(job, "compiled")
        if job.settings.tiny or job.left() < 4 * MARGIN * (time.perf_counter() - began):
            break
    job.record(compiled_8_evaluations=_few(bench))


def _figures(report: Report, peak: float, stock: float) -> dict[str, Any]:
    """Return the rates and ratios of one way of running."""
    floor, engine = (median(turn.rate for turn in report.turns[key]) for key in ("floor", "engine"))
    evaluations = report.evaluations["engine"] / report.turns["engine"][0].images
    tflops = engine * report.flops / 1e12
    return {
        "turns": len(report.turns["engine"]),
        "floor_images_per_s": rounded(floor),
        "engine_images_per_s": rounded(engine),
        "stock_images_per_s": rounded(stock),
        "engine_evaluations_per_s": rounded(engine * evaluations),
        "engine_tflops": rounded(tflops),
        "share_of_matmul_rate": rounded(tflops / peak),
        "floor_share_of_matmul_rate": rounded(floor * report.flops / 1e12 / peak),
        "b/a": rounded(median(report.ratios("engine", "floor"))),
        "b/c": rounded(engine / stock),
    }


def _few(bench: DayBench) -> dict[str, Any]:
    """Measure 8 evaluations an image, and the autoencoder's share of the time."""
    bench.change(FEW / bench.engine.settings.num_steps)
    rows = len(bench.prompts)
    engine = bench._timed(bench._fill, rows)
    floor = bench._timed(bench.floor.run, rows)
    vae = bench.vae_seconds()
    return {
        "engine_images_per_s": rounded(engine.rate),
        "floor_images_per_s": rounded(floor.rate),
        "b/a": rounded(engine.rate / floor.rate),
        "vae_share_of_engine_time": rounded(vae / engine.seconds),
        "vae_share_of_floor_time": rounded(vae / floor.seconds),
    }


def _summary(job: Job, way: str) -> None:
    figures = job.results[way]
    job.record(
        summary=f"{way}: {figures['engine_images_per_s']} images/s, {figures['engine_tflops']} "
        f"TFLOP/s ({figures['share_of_matmul_rate']:.0%} of matmul), b/a {figures['b/a']}, b/c "
        f"{figures['b/c']}"
    )
    if job.settings.tiny:
        return  # the targets are of the full size
    job.reach(f"b/a, {way}", figures["b/a"], 0.95)
    job.reach(f"b/c, {way}", figures["b/c"], 4.0)
    device = job.results["settings"]["device"]
    for card, rate in IMAGES_PER_SECOND.items():
        if card in device:
            key = f"images/s at 25 guided steps on average, {way}, {card}"
            job.reach(key, figures["engine_images_per_s"], rate)


def _bench(job: Job, folder: Path) -> DayBench:
    """Return the benchmark on a list of guided rows; at full size, build the model."""
    tiny = job.settings.tiny
    offline = Offline(_config(job, folder))
    offline.require()
    prompts = make_prompts(offline, (1 if tiny else BLOCKS) * BLOCK, folder / "originals")
    guided = [prompt for prompt in prompts if prompt.guidance_scale > 1]
    guided = guided[:TINY_ROWS] if tiny else guided
    offline.generator.check(guided)
    return DayBench(offline, guided, folder)


def _config(job: Job, folder: Path) -> Any:
    tiny = job.settings.tiny
    words = [
        "runtime=gpu" if job.is_cuda else "runtime=default",
        f"runtime.device={job.settings.device}",
        "runtime.compile=false",
        f"runtime.batch_size.images={TINY_BATCH if tiny else BATCH}",
        f"images.num_steps={TINY_STEPS if tiny else STEPS}",
        f"paths.store={folder / 'store'}",
    ]
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = hydra.compose("benchmark", words)
    if not tiny:
        dtype = "bfloat16" if job.is_cuda else "float32"
        with torch.device(job.settings.device):  # 860 M random numbers: seconds on a GPU
            build_sd15(folder / "model", dtype)
        values = {"model": str(folder / "model"), "revision": None, "variant": None}
        config.images.update(dtype=dtype, size=FULL_SIZE, **values)
    return config
