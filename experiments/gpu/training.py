"""Step 4: training speed of ResNet-50: the bare model, our trainer, timm's loader in a plain loop.

The parts of `experiments/speed/training.py`, with fewer steps. Images are JPEG files, read and
decoded at each use; if time is left, once more with decoded images kept in memory.
"""

import gc
import os
import time
from pathlib import Path
from typing import Any

import hydra
import torch

from experiments.gpu.job import Job, rounded
from experiments.speed.training_files import NUM_CLASSES, photographs
from experiments.speed.training_loops import Case, bound, ours, timms
from sip.backbone.timm import Timm
from sip.classifier.loading import Loading
from sip.classifier.recipe import Recipe
from sip.classifier.schedule import CosineRate
from sip.classifier.tuning.full import Full
from sip.config.build import build
from sip.core.paths import conf_folder

NAME, TINY_NAME = "resnet50", "test_resnet"
SIZE, TINY_SIZE = 224, 32  # px
BATCH, TINY_BATCH = 256, 4
WARM_UP, TIMED = 10, 50  # steps
TINY_TIMED = 3
NUM_FILES, TINY_FILES = 256, 8
LEAST_SECONDS = 5.0  # more than the first round took, for another one


def run(job: Job) -> None:
    """Measure; every figure is recorded when it exists."""
    os.chdir(job.scratch)  # the files of the loggers
    case = _case(job)
    recipe = case.recipe
    job.record(
        model=f"{case.name}, {recipe.precision}, batch {recipe.batch_size}, "
        f"{recipe.steps - recipe.warmup_steps} steps timed after {recipe.warmup_steps}"
    )
    arm = _arm()
    began = time.perf_counter()
    _measure(job, case, arm, "read_at_each_use", 0)
    if job.left() > time.perf_counter() - began + LEAST_SECONDS:
        _measure(job, case, arm, "kept_in_memory", "auto")


def _measure(job: Job, case: Case, arm: Any, key: str, memory: float | str) -> None:
    """Time all three with one memory bound."""
    loading = Loading(1 if job.settings.tiny else "auto", memory)
    figures: dict[str, Any] = {}

    def note(**values: Any) -> None:
        figures.update(values)
        job.record(**{key: dict(figures)})

    floor = bound(case, arm)
    note(bound_images_per_s=rounded(floor.rate))
    gc.collect()
    turn, num_workers, _ = ours(case, arm, loading)
    note(ours_images_per_s=rounded(turn.rate), workers=num_workers)
    note(**{"b/a": rounded(turn.rate / floor.rate)})
    if job.is_cuda:
        note(peak_memory=f"{torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")
    gc.collect()
    timm = timms(case, arm, num_workers)
    note(timm_images_per_s=rounded(timm.rate), **{"b/c": rounded(turn.rate / timm.rate)})
    line = f"{key.replace('_', ' ')}: bound {floor.rate:.4g}, ours {turn.rate:.4g}, timm's loader "
    line += f"{timm.rate:.4g} images/s; b/a {figures['b/a']}, b/c {figures['b/c']}"
    before = job.results.get("summary")
    job.record(summary=f"{before}; {line}" if before else line)
    if not job.settings.tiny:
        job.reach(f"b/a, {key.replace('_', ' ')}", figures["b/a"], 0.95)
        job.reach(f"b/c, {key.replace('_', ' ')}", figures["b/c"], 1.0)


def _case(job: Job) -> Case:
    tiny = job.settings.tiny
    name, size = (TINY_NAME, TINY_SIZE) if tiny else (NAME, SIZE)
    rows = photographs(Path("photographs").absolute(), TINY_FILES if tiny else NUM_FILES)
    backbone = Timm(name, None, None, None, None, 0.0, size, None, None)
    warm_up, timed = (1, TINY_TIMED) if tiny else (WARM_UP, TIMED)
    recipe = Recipe(
        optimizer="sgd",
        lr=0.1,
        momentum=0.9,
        weight_decay=1e-4,
        budget="steps",
        steps=warm_up + timed,
        epochs=None,
        batch_size=TINY_BATCH if tiny else BATCH,
        warmup_steps=warm_up,
        label_smoothing=0.1,
        val_every=warm_up + timed,
        patience=None,
        precision="bf16-mixed" if job.is_cuda else "32-true",
        schedule=CosineRate(),
        layer_decay=1.0,
        ema_decay=None,
        gradient_clip=None,
        tuning=Full(),
    )
    device = torch.device(job.settings.device)
    return Case(f"{name}, {size} px, JPEG files", backbone, recipe, NUM_CLASSES, rows, [], device)


def _arm() -> Any:
    """Return the arm without augmentation."""
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return build(hydra.compose("config", ["augmentation=none"]).augmentation)
