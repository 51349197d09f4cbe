"""Speed of training against the bare model, and against timm's data loader in a plain loop.

    python -m experiments.speed.training [--models resnet50 vit_small embedded] [--memory auto 0]
        [--arms none randaugment cutmix sip_cutmix] [--steps N] [--repeats N] [runtime=gpu ...]

Results: `training.md`. Three loops work by turns in one process (`training_loops.py`): (a) forward,
backward and step on a batch that lies on the device, (b) the framework's own training from files,
(c) timm's loader with its RandAugment and CutMix.
"""

import argparse
import gc
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import hydra
import torch
from omegaconf import DictConfig

from experiments.speed.training_files import NUM_CLASSES, generated_next_to, photographs
from experiments.speed.training_loops import Case, bound, ours, timms
from sip.augmentation.base import Augmentation
from sip.backbone.timm import Timm
from sip.benchmark.report import Turn, device_name, spread
from sip.classifier.loading import Loading
from sip.classifier.recipe import Recipe
from sip.classifier.schedule import CosineRate
from sip.classifier.tuning.full import Full
from sip.config.build import build
from sip.core.paths import conf_folder
from sip.device.settings import Runtime, device, set_threads

SIZE = 224  # px
OPTIMIZERS = {"resnet50": ("sgd", 0.1, 1e-4), "vit_small": ("adamw", 1e-3, 0.05)}  # lr, decay
NAMES = {"resnet50": "resnet50", "vit_small": "vit_small_patch16_224"}
EMBEDDED = "embedded"  # the backbone, recipe and data of the embedded profile
ARMS = ("none", "randaugment", "cutmix", "sip_cutmix")
BATCH_SIZE = {"cuda": 256, "cpu": 8}
STEPS = {"cuda": (10, 100), "cpu": (1, 4)}  # of the warm-up, timed
LOOPS = ("bound", "ours", "timm")
HEADER = (
    "arm",
    "images",
    "workers",
    "(a) bound, images/s",
    "(b) ours, images/s",
    "(c) timm, images/s",
    "b/a",
    "b/c",
)


@dataclass
class Row:
    """Results of one model with one arm and one memory bound.

    Attributes:
        case: The model and its files.
        arm: Name of the arm.
        num_workers: Processes that read, in (b) and (c).
        kept: Whether (b) kept the decoded images in memory.
        turns: Name of the loop -> its turns, in the order in which they ran.
    """

    case: Case
    arm: str
    num_workers: int = 0
    kept: bool = False
    turns: dict[str, list[Turn]] = field(default_factory=lambda: {key: [] for key in LOOPS})

    def ratios(self, to: str) -> list[float]:
        """Return the rate of (b) divided by that of another loop, turn by turn."""
        pairs = zip(self.turns["ours"], self.turns[to], strict=True)
        return [one.rate / other.rate for one, other in pairs]

    def line(self) -> str:
        """Return the row of the table."""
        cells = (
            self.arm,
            "kept" if self.kept else "read at each use",
            str(self.num_workers),
            *(spread([turn.rate for turn in self.turns[key]], 4) for key in LOOPS),
            *(spread(self.ratios(to), 3) for to in ("bound", "timm")),
        )
        return f"| {' | '.join(cells)} |"


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = parse(words)
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = hydra.compose("config", options.overrides)
        arms: dict[str, Augmentation] = {}
        for name in options.arms:
            chosen = hydra.compose("config", [f"augmentation={name}", *options.overrides])
            arms[name] = build(chosen.augmentation)
    set_threads(Runtime.of(config.runtime))
    place = torch.device(device(config.runtime.device))
    # In the working directory: its disk, not one in memory, is what the files are read from.
    with tempfile.TemporaryDirectory(prefix="sip-training-", dir=".") as folder:
        cases = list(make_cases(config, options, Path(folder).absolute(), place))
        rows = measure(cases, arms, config.runtime.loader_workers, options)
    for _, group in groupby(rows, key=lambda row: row.case.name):
        print("\n".join(lines(list(group))), "\n")
    packages = ("torch", "torchvision", "timm", "pytorch-lightning", "pillow")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    print(f"Medians over {options.repeats} turns [smallest, largest]; ratios turn by turn.")
    print(f"{device_name(place)}; {torch.get_num_threads()} threads of torch. {versions}")


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    models = [*NAMES, EMBEDDED]
    parser.add_argument("--models", nargs="+", default=models, choices=models)
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS)
    parser.add_argument("--memory", nargs="+", default=["auto", "0"], help="GiB of kept images")
    parser.add_argument("--num-files", type=int, default=256, help="JPEG files that are made")
    parser.add_argument("--batch-size", type=int, help="even; default: 256 on a GPU, 8 on a CPU")
    parser.add_argument("--steps", type=int, help="timed; default: 100 on a GPU, 4 on a CPU")
    parser.add_argument("--repeats", type=int, default=5)
    options, options.overrides = parser.parse_known_args(words)
    return options


def make_cases(
    config: DictConfig, options: argparse.Namespace, folder: Path, device: torch.device
) -> Iterator[Case]:
    """Write the files; yield the models on them."""
    if set(options.models) - {EMBEDDED}:
        rows = photographs(folder / "photographs", options.num_files)
        generated = generated_next_to(rows, folder / "generated-photographs")
    for name in options.models:
        if name != EMBEDDED:
            backbone = Timm(NAMES[name], None, None, None, None, 0.0, SIZE, None, None)
            recipe = make_recipe(options, device, *OPTIMIZERS[name], BATCH_SIZE[device.type])
            title = f"{name}, {SIZE} px, JPEG files"
            yield Case(title, backbone, recipe, NUM_CLASSES, rows, generated, device)
            continue
        profile = config.profile
        values = profile.backbone.resnet50
        size = profile.image_size
        backbone = Timm(values.name, None, None, values.stem, None, 0.0, size, None, None)
        scratch = profile.classifier.scratch
        optimizer = scratch.optimizer, scratch.lr, scratch.weight_decay
        recipe = make_recipe(options, device, *optimizer, scratch.batch_size)
        dataset = build({**config.dataset, "root": str(folder / "data")})
        samples = dataset.samples("train")
        next_to = generated_next_to(samples, folder / "generated-profile")
        title = f"profile {profile.name}: {values.name}, {size} px, its own files"
        yield Case(title, backbone, recipe, len(dataset.class_names), samples, next_to, device)


def make_recipe(
    options: argparse.Namespace,
    device: torch.device,
    optimizer: str,
    lr: float,
    weight_decay: float,
    batch_size: int,
) -> Recipe:
    """Return the recipe of one turn; the clock starts after its warm-up."""
    warmup, timed = STEPS[device.type]
    steps = warmup + (options.steps or timed)
    return Recipe(
        optimizer=optimizer,
        lr=lr,
        momentum=0.9,
        weight_decay=weight_decay,
        budget="steps",
        steps=steps,
        epochs=None,
        batch_size=options.batch_size or batch_size,
        warmup_steps=warmup,
        label_smoothing=0.1,
        val_every=steps,
        patience=None,
        precision="bf16-mixed" if device.type == "cuda" else "32-true",
        schedule=CosineRate(),
        layer_decay=1.0,
        ema_decay=None,
        gradient_clip=None,
        tuning=Full(),
    )


def measure(
    cases: Sequence[Case], arms: dict[str, Any], num_workers: Any, options: argparse.Namespace
) -> list[Row]:
    """Return one row for each model, arm and memory bound."""
    bounds = [Loading(num_workers, m if m == "auto" else float(m)) for m in options.memory]
    plan = [(case, name, loading) for case in cases for name in arms for loading in bounds]
    rows = [Row(case, name) for case, name, _ in plan]
    for _ in range(options.repeats):
        for row, (case, name, loading) in zip(rows, plan, strict=True):
            row.turns["bound"].append(bound(case, arms[name]))
            gc.collect()
            turn, row.num_workers, row.kept = ours(case, arms[name], loading)
            row.turns["ours"].append(turn)
            gc.collect()
            row.turns["timm"].append(timms(case, arms[name], row.num_workers))
            gc.collect()
    return rows


def lines(rows: Sequence[Row]) -> list[str]:
    """Return the table of one model as Markdown."""
    case = rows[0].case
    recipe = case.recipe
    timed = recipe.steps - recipe.warmup_steps
    return [
        f"## {case.name}",
        "",
        " | ".join(HEADER).join(("| ", " |")),
        "|---|---|" + "---:|" * (len(HEADER) - 2),
        *(row.line() for row in rows),
        "",
        f"- files: {len(case.rows)}, and {len(case.generated)} in place of generated ones",
        f"- batch: {recipe.batch_size} images, {timed} steps timed after {recipe.warmup_steps}",
        f"- model: {recipe.precision}, {recipe.optimizer}",
    ]


if __name__ == "__main__":
    main()
