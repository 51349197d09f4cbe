"""The three that the training benchmark compares; each returns one timed `Turn`.

The same network, optimiser, precision and memory layout in all of them: a fresh `Classifier`
of the same seed, whose parts the two plain loops use without Lightning.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from io import BytesIO
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger
from timm.data import ImageDataset, create_loader
from timm.data.mixup import Mixup
from torch import Tensor

from sip.augmentation.base import Augmentation
from sip.augmentation.mix.cutmix import CutMix
from sip.augmentation.sample.none import AsIs
from sip.augmentation.sample.torchvision import TorchvisionTransform
from sip.backbone.base import Backbone
from sip.benchmark.report import Turn
from sip.classifier.base import LabelledImage
from sip.classifier.callbacks import KeepBest
from sip.classifier.data import SplitData
from sip.classifier.loading import Loading
from sip.classifier.module import Classifier
from sip.classifier.recipe import Recipe
from sip.classifier.train import make_trainer, quiet
from sip.core import progress

SEED = 0


@dataclass(frozen=True)
class Case:
    """One model on one set of files.

    Attributes:
        name: As it is printed.
        recipe: `steps` of it are taken, `warmup_steps` before the clock starts.
        rows: Real images; `generated` ones next to them, for the arms that ask for them.
        device: Of the network.
    """

    name: str
    backbone: Backbone
    recipe: Recipe
    num_classes: int
    rows: Sequence[LabelledImage]
    generated: Sequence[LabelledImage]
    device: torch.device

    def rows_of(self, arm: Augmentation) -> list[LabelledImage]:
        """Return the images that an arm trains on."""
        return [*self.rows, *self.generated] if arm.offline.generates else [*self.rows]

    def module(self, arm: Augmentation) -> Classifier:
        """Return the classifier at its start."""
        torch.manual_seed(SEED)
        network = self.backbone.create(self.num_classes)
        mean, std = self.backbone.normalisation
        num_train = len(self.rows_of(arm))
        return Classifier(
            network, self.recipe, arm.mix, self.num_classes, mean, std, SEED, num_train
        )


class Clock:
    """Times the steps after those of the warm-up, to their end on the device."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.marks: list[tuple[float, float]] = []

    def step(self, number: int) -> None:
        """Note that so many steps were taken."""
        if number in (self.case.recipe.warmup_steps, self.case.recipe.steps):
            if self.case.device.type == "cuda":
                torch.cuda.synchronize(self.case.device)
            self.marks.append((time.perf_counter(), time.process_time()))

    def turn(self) -> Turn:
        """Return what was timed."""
        (start, cpu_start), (end, cpu_end) = self.marks
        recipe = self.case.recipe
        images = (recipe.steps - recipe.warmup_steps) * recipe.batch_size
        return Turn(images, end - start, cpu_end - cpu_start)


class ClockCallback(Callback):
    """Lets Lightning work the clock; the validation behind the last step is not timed."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, *_: Any
    ) -> None:
        """Note a step."""
        self.clock.step(trainer.global_step)


def bound(case: Case, arm: Augmentation) -> Turn:
    """Time forward, backward and step on one batch that lies on the device."""
    size, batch = case.backbone.input_size, case.recipe.batch_size
    generator = torch.Generator().manual_seed(SEED)
    images = torch.randn(batch, 3, size, size, generator=generator).to(case.device)
    labels = torch.randint(case.num_classes, (batch,), generator=generator).to(case.device)
    targets = F.one_hot(labels, case.num_classes).float()
    return _loop(case, case.module(arm), repeat((images, targets)))


def ours(case: Case, arm: Augmentation, loading: Loading) -> tuple[Turn, int, bool]:
    """Time the framework's own training; return also its worker processes, and if it keeps."""
    data = SplitData(
        case.rows_of(arm),
        case.rows[:1],
        case.rows[:1],
        case.backbone.input_size,
        arm.transforms,
        case.recipe,
        SEED,
        loading,
        arm.offline,
    )
    clock = Clock(case)
    kwargs = {"accelerator": "gpu" if case.device.type == "cuda" else "cpu", "devices": 1}
    with quiet(), _no_bars(), tempfile.TemporaryDirectory(dir=".") as folder:
        logger = CSVLogger(folder, name="", version="")
        trainer = make_trainer(case.recipe, KeepBest(), folder, kwargs, [logger])
        trainer.callbacks.append(ClockCallback(clock))  # type: ignore[attr-defined]
        trainer.fit(case.module(arm), datamodule=data)
    return clock.turn(), loading.num_workers(data.train.kept, case.device), data.train.kept


def timms(case: Case, arm: Augmentation, num_workers: int) -> Turn:
    """Time timm's data loader, RandAugment and CutMix in a plain loop.

    The loader does the arm's work and no more: the central square, bicubic, neither mirrored nor
    cut at random.
    """
    size = case.backbone.input_size
    loader = create_loader(
        ImageDataset("", reader=_Files(case.rows_of(arm), case.recipe)),
        input_size=(3, size, size),
        batch_size=case.recipe.batch_size,
        is_training=True,
        re_prob=0.0,
        scale=(1.0, 1.0),
        ratio=(1.0, 1.0),
        hflip=0.0,
        color_jitter=0.0,
        auto_augment=_rand_augment(arm),
        interpolation="bicubic",
        mean=case.backbone.normalisation[0],
        std=case.backbone.normalisation[1],
        num_workers=num_workers,
        pin_memory=case.device.type == "cuda",
        device=case.device,
    )
    return _loop(case, case.module(arm), _mixed(case, arm, loader))


def _rand_augment(arm: Augmentation) -> str | None:
    """Return timm's name of the arm's changes to single images."""
    if isinstance(arm.sample, TorchvisionTransform):
        assert arm.sample.transform == "RandAugment"
        values = arm.sample.arguments
        return f"rand-m{values['magnitude']}-n{values['num_ops']}"
    assert isinstance(arm.sample, AsIs), "timm's part of the benchmark knows only RandAugment"
    return None


def _mixed(case: Case, arm: Augmentation, loader: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield timm's batches with soft targets, mixed on the device if the arm mixes."""
    mix = None
    if isinstance(arm.mix, CutMix):  # the loss smoothes the labels, as for all arms
        options = {"prob": arm.mix.prob, "label_smoothing": 0.0, "num_classes": case.num_classes}
        mix = Mixup(mixup_alpha=0.0, cutmix_alpha=arm.mix.alpha, **options)
    for images, labels in loader:
        if mix is None:
            yield images, F.one_hot(labels, case.num_classes).float()
        else:
            yield mix(images, labels)


def _loop(case: Case, module: Classifier, batches: Iterator[tuple[Tensor, Tensor]]) -> Turn:
    """Time the plainest training there is."""
    network, recipe = module.network.to(case.device).train(), case.recipe
    if case.device.type == "cuda":
        network.to(memory_format=torch.channels_last)
    made = module.configure_optimizers()
    optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
    clock = Clock(case)
    for number, (images, targets) in enumerate(islice(batches, recipe.steps), 1):
        with _autocast(case):
            logits = network(images)
            loss = F.cross_entropy(logits, targets, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        clock.step(number)
    return clock.turn()


def _autocast(case: Case) -> AbstractContextManager:
    if case.recipe.precision == "bf16-mixed":
        return torch.autocast(case.device.type, torch.bfloat16)
    return nullcontext()


@contextmanager
def _no_bars() -> Iterator[None]:
    """Keep the trainings' bars off the terminal; the benchmark has its own."""
    was, progress.is_first = progress.is_first, False
    try:
        yield
    finally:
        progress.is_first = was


class _Files:
    """The files as timm's readers hand them out, so often that one pass is enough."""

    def __init__(self, rows: Sequence[LabelledImage], recipe: Recipe) -> None:
        times = -(-recipe.steps * recipe.batch_size // len(rows))
        self.rows = [*rows] * times

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> tuple[BytesIO, int]:
        row = self.rows[position]
        return BytesIO(Path(row.path).read_bytes()), row.label
