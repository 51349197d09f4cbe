"""How long a training takes, from a few of its steps and one batch without gradients."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TypeVar

import torch
from torch import Tensor

from sip.augmentation.base import Augmentation
from sip.backbone.base import Backbone
from sip.classifier.base import LabelledImage
from sip.classifier.data import SplitData
from sip.classifier.failures import plain_errors
from sip.classifier.loading import Loading
from sip.classifier.module import Classifier
from sip.classifier.optimisation import make_optimizer
from sip.classifier.recipe import Recipe
from sip.core.hashing import seeded
from sip.device.batch_size import synchronize

T = TypeVar("T")
Batch = tuple[Tensor, Tensor]  # images (B, 3, H, W), uint8, and labels (B,)
NUM_STEPS = 3  # that are measured, after one that warms up


@dataclass(frozen=True)
class StepTimes:
    """Seconds that the work takes on one device.

    Attributes:
        decode: For one image: reading its file.
        change: For one image: the transforms of the augmentation.
        step: For one batch: the network forward and back, and the optimiser.
        evaluate: For one image: the network forward.
    """

    decode: float
    change: float
    step: float
    evaluate: float


def measure_steps(
    backbone: Backbone,
    recipe: Recipe,
    augmentation: Augmentation,
    rows: Sequence[LabelledImage],
    class_names: Sequence[str],
    device: str,
) -> StepTimes:
    """Take a few training steps that nothing keeps.

    Args:
        recipe: Its batch size is that of one device.
        rows: Some real training images.

    Raises:
        UserError: The weights do not fit, an image cannot be read, or the batch does not fit into
            the device's memory.
    """
    rows = rows[: recipe.batch_size]
    few = replace(recipe, steps=1, val_every=1, warmup_steps=0)
    size, names = backbone.input_size, list(class_names)
    data = SplitData(rows, rows, rows, size, augmentation.transforms, few, 0, Loading())
    with plain_errors(recipe.batch_size), seeded(0, torch.device(device)):
        decode, _ = _timed(device, lambda: data.train.memory) if data.train.kept else (0.0, None)
        change, batch = _timed(device, lambda: _batch(data, recipe.batch_size))
        network = backbone.create(len(names), names)
        mean_and_std = backbone.normalisation
        module = Classifier(network, few, augmentation.mix, len(names), *mean_and_std, 0, 1)
        module.to(device).train()
        optimizer = make_optimizer(module.network, few)
        there = batch[0].to(device), batch[1].to(device)
        step = _step_of(module, optimizer, there, recipe.precision)
        times = [_timed(device, step)[0] for _ in range(1 + NUM_STEPS)]
        evaluate, _ = _timed(device, lambda: _evaluated(module.eval(), there[0]))
    num = recipe.batch_size
    return StepTimes(decode / len(rows), change / num, median(times[1:]), evaluate / num)


def _batch(data: SplitData, num: int) -> Batch:
    images, labels = zip(*(data.stream[n][:2] for n in range(num)), strict=True)
    return torch.stack(images), torch.tensor(labels)


def _step_of(
    module: Classifier, optimizer: torch.optim.Optimizer, batch: Batch, precision: str
) -> Callable[[], None]:
    """Return a function that takes one step."""
    kinds = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    device, kind = batch[0].device.type, kinds.get(precision, torch.bfloat16)

    def step() -> None:
        with torch.autocast(device, kind, enabled=precision in kinds):
            loss = module.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


@torch.no_grad()
def _evaluated(module: Classifier, images: Tensor) -> Tensor:
    return module(images)


def _timed(device: str, work: Callable[[], T]) -> tuple[float, T]:
    """Return the seconds that something takes, and its result."""
    synchronize(device)
    started = time.perf_counter()
    result = work()
    synchronize(device)
    return time.perf_counter() - started, result
