"""How fast training is: against the bare model, and against timm's data loader in a plain loop.

All three work by turns in one process: (a) forward, backward and step on a batch that lies on the
device, (b) the framework's own training from files, (c) timm's loader with its RandAugment and
CutMix in the plainest loop (`training_loops.py`), for each model, arm and memory bound.
"""

import gc
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sip.core.errors import UserError
from sip.core.progress import progress

if TYPE_CHECKING:
    import torch
    from omegaconf import DictConfig

    from sip.augmentation.base import Augmentation
    from sip.benchmark.training_loops import Case
    from sip.benchmark.training_report import Row
    from sip.classifier.recipe import Recipe

SIZE = 224  # px
OPTIMIZERS = {"resnet50": ("sgd", 0.1, 1e-4), "vit_small": ("adamw", 1e-3, 0.05)}  # lr, decay
NAMES = {"resnet50": "resnet50", "vit_small": "vit_small_patch16_224"}
EMBEDDED = "embedded"
BATCH_SIZE = {"cuda": 256, "cpu": 8}
STEPS = {"cuda": (10, 100), "cpu": (1, 4)}  # to warm up, timed


def run(config: "DictConfig") -> None:
    """Measure and print.

    Raises:
        UserError: A setting is wrong.
    """
    _check(config)
    import torch

    from sip.benchmark.training_report import write
    from sip.device.settings import Runtime, device, set_threads

    set_threads(Runtime.of(config.runtime))
    chosen = torch.device(device(config.runtime.device))
    # In the working directory: its disk, not one in memory, is what the files are read from.
    with tempfile.TemporaryDirectory(prefix="sip-training-", dir=".") as folder:
        cases = list(_cases(config, Path(folder).absolute(), chosen))
        rows = _measure(config, cases)
    write(rows, chosen, config.repeats, config.output)


def _check(config: "DictConfig") -> None:
    wanted = config.training
    for key, value in (
        ("repeats", config.repeats),
        ("training.num_files", wanted.num_files),
        ("training.batch_size", 2 if wanted.batch_size == "auto" else wanted.batch_size),
        ("training.steps", 1 if wanted.steps == "auto" else wanted.steps),
    ):
        if type(value) is not int or value < 1:
            raise UserError(f"{key}: expected a number >= 1, came {value!r}")
    if wanted.batch_size != "auto" and wanted.batch_size % 2:
        raise UserError(
            f"training.batch_size: expected an even number, which timm's CutMix needs, came "
            f"{wanted.batch_size}"
        )
    known = [*NAMES, EMBEDDED]
    if unknown := [name for name in wanted.models if name not in known]:
        raise UserError(f"training.models: expected some of {', '.join(known)}, came {unknown[0]}")


def _cases(config: "DictConfig", folder: Path, device: "torch.device") -> "Iterator[Case]":
    """Write the files; yield the models on them."""
    from sip.backbone.timm import Timm
    from sip.benchmark.training_files import NUM_CLASSES, drawn_beside, photographs
    from sip.benchmark.training_loops import Case
    from sip.config.build import build

    wanted = [str(name) for name in config.training.models]
    if set(wanted) - {EMBEDDED}:
        rows = photographs(folder / "photographs", config.training.num_files)
        drawn = drawn_beside(rows, folder / "drawn-photographs")
    for name in wanted:
        if name != EMBEDDED:
            backbone = Timm(NAMES[name], None, None, None, None, 0.0, SIZE, None, None)
            recipe = _recipe(config, device, *OPTIMIZERS[name], BATCH_SIZE[device.type])
            title = f"{name}, {SIZE} px, JPEG files"
            yield Case(title, backbone, recipe, NUM_CLASSES, rows, drawn, device)
            continue
        profile = config.profile
        values = profile.backbone.resnet50
        size = profile.image_size
        backbone = Timm(values.name, None, None, values.stem, None, 0.0, size, None, None)
        scratch = profile.classifier.scratch
        recipe = _recipe(
            config,
            device,
            scratch.optimizer,
            scratch.lr,
            scratch.weight_decay,
            scratch.batch_size,
        )
        dataset = build({**config.dataset, "root": str(folder / "data")})
        samples = dataset.samples("train")
        beside = drawn_beside(samples, folder / "drawn-profile")
        title = f"profile {profile.name}: {values.name}, {profile.image_size} px, its own files"
        yield Case(title, backbone, recipe, len(dataset.class_names), samples, beside, device)


def _recipe(
    config: "DictConfig",
    device: "torch.device",
    optimizer: str,
    lr: float,
    weight_decay: float,
    batch_size: int,
) -> "Recipe":
    """Return the recipe of one turn; its warm-up is what the clock does not see."""
    from sip.classifier.recipe import Recipe
    from sip.classifier.schedule import CosineRate
    from sip.classifier.tuning.full import Full

    wanted = config.training
    warmup, timed = STEPS[device.type]
    timed = timed if wanted.steps == "auto" else wanted.steps
    return Recipe(
        optimizer=optimizer,
        lr=lr,
        momentum=0.9,
        weight_decay=weight_decay,
        budget="steps",
        steps=warmup + timed,
        epochs=None,
        batch_size=batch_size if wanted.batch_size == "auto" else wanted.batch_size,
        warmup_steps=warmup,
        label_smoothing=0.1,
        val_every=warmup + timed,
        patience=None,
        precision="bf16-mixed" if device.type == "cuda" else "32-true",
        schedule=CosineRate(),
        layer_decay=1.0,
        ema_decay=None,
        gradient_clip=None,
        tuning=Full(),
    )


def _measure(config: "DictConfig", cases: "list[Case]") -> "list[Row]":
    """Return one row a model, arm and memory bound."""
    from sip.benchmark.training_report import Row
    from sip.classifier.loading import Loading
    from sip.config.build import build

    arms: dict[str, Augmentation] = {
        name: build(node) for name, node in config.training.arms.items()
    }
    bounds = [
        Loading(config.runtime.loader_workers, memory) for memory in config.training.memory_gib
    ]
    plan = [(case, name, loading) for case in cases for name in arms for loading in bounds]
    rows = [Row(case, name) for case, name, _ in plan]
    with closing(progress("benchmark", config.repeats * len(plan), "turn")) as bar:
        for _ in range(config.repeats):
            for row, (case, name, loading) in zip(rows, plan, strict=True):
                _turn(row, case, arms[name], loading)
                bar.update(1)
    return rows


def _turn(row: "Row", case: "Case", arm: "Augmentation", loading: Any) -> None:
    """Let each of the three work once."""
    from sip.benchmark.training_loops import bound, ours, timms

    gc.collect()
    row.turns["bound"].append(bound(case, arm))
    gc.collect()
    turn, row.num_workers, row.kept = ours(case, arm, loading)
    row.turns["ours"].append(turn)
    gc.collect()
    row.turns["timm"].append(timms(case, arm, row.num_workers))
