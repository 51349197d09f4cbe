"""The classifier as a LightningModule: cross entropy to soft targets, top-1 accuracy."""

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from pytorch_lightning import LightningModule
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from sip.augmentation.base import Mix
from sip.classifier.recipe import Recipe
from sip.common.seeds import seed_of, seeded

Batch = tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor]  # pictures, labels, weights if any

LOG_EVERY = 10  # steps between points of the curves


def weighted_cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    """Return the cross entropy, each row's divided by the sum of all rows' weights.

    Args:
        logits: (B, num_classes).
        targets: (B, num_classes): probabilities times the row's weight, which is its sum, > 0.
    """
    weights = targets.sum(1)
    losses = F.cross_entropy(
        logits, targets / weights[:, None], label_smoothing=label_smoothing, reduction="none"
    )
    return (losses * weights).sum() / weights.sum()


def schedule(step: int, steps: int, warmup_steps: int) -> float:
    """Return the share of the highest learning rate at a step: linear up, then half a cosine."""
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / (steps - warmup_steps)))


class Classifier(LightningModule):
    """A network with its training.

    Args:
        network: From normalised pictures to logits.
        mix: What is done to each training batch.
        mean, std: Per channel, of pixels in [0, 1].
        seed: Of the random numbers of `mix`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        mix: Mix,
        num_classes: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        seed: int,
    ) -> None:
        super().__init__()
        mix.require(network)
        self.network, self.recipe, self.mix = network, recipe, mix
        self.num_classes, self.seed = num_classes, seed
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        # "micro" is plain top-1 accuracy; torchmetrics' own default averages over classes.
        self.val_accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.test_accuracy = MulticlassAccuracy(num_classes, average="micro")
        # Since the last validation. A look for NaN would wait for the device at each step.
        self.train_loss = MeanMetric(nan_strategy="disable")
        self.logits: list[Tensor] = []  # of the evaluation that runs or ran last

    def setup(self, stage: str) -> None:
        """Lay the network out as NHWC on a GPU, whose convolutions are made for it."""
        if self.trainer.strategy.root_device.type == "cuda":
            self.network.to(memory_format=torch.channels_last)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits (B, num_classes) of pictures (B, 3, H, W), uint8."""
        return self.network(self.normalise(pictures))

    def normalise(self, pictures: Tensor) -> Tensor:
        """Return float32 pictures with mean and std removed."""
        return (pictures.float() / 255 - self.mean) / self.std

    def training_step(self, batch: Batch, batch_number: int) -> Tensor:
        """Return the loss of a batch after `mix`."""
        pictures, labels, *weights = batch
        targets = F.one_hot(labels, self.num_classes).float()
        if weights:
            targets = targets * weights[0][:, None]
        with self.seeded():
            pictures = self.normalise(pictures)
            logits, targets = self.mix(self.network, pictures, targets)
        criterion = weighted_cross_entropy if weights else F.cross_entropy
        loss = criterion(logits, targets, label_smoothing=self.recipe.label_smoothing)
        self.train_loss.update(loss.detach())
        if (self.global_step + 1) % LOG_EVERY == 0:  # each call costs time, the second a copy
            self.log("train/loss", loss)
            self.log("lr", self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        return loss

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """Make random numbers inside depend on the seed, the step and the process rank alone."""
        with seeded(seed_of(self.seed, "step", self.global_step, self.global_rank), self.device):
            yield

    def on_validation_epoch_start(self) -> None:
        """Forget the last validation's logits."""
        self.logits = []

    def on_test_epoch_start(self) -> None:
        """Forget the validation's logits."""
        self.logits = []

    def validation_step(self, batch: Batch, batch_number: int) -> None:
        """Update accuracy and loss on val."""
        self._evaluate("val", self.val_accuracy, batch)

    def test_step(self, batch: Batch, batch_number: int) -> None:
        """Update accuracy and loss on test."""
        self._evaluate("test", self.test_accuracy, batch)

    def _evaluate(self, split: str, accuracy: MulticlassAccuracy, batch: Batch) -> None:
        pictures, labels, *_ = batch
        logits = self(pictures).float()
        accuracy.update(logits, labels)
        self.log(f"{split}/loss", F.cross_entropy(logits, labels), batch_size=len(labels))
        self.log(f"{split}/accuracy", accuracy, batch_size=len(labels))
        self.logits.append(logits.cpu())

    def configure_optimizers(self) -> Any:
        """Return the optimiser and its schedule by steps."""
        recipe = self.recipe
        undecayed: Collection[str] = getattr(self.network, "no_weight_decay", tuple)()
        groups = param_groups_weight_decay(
            self.network, recipe.weight_decay, no_weight_decay_list=tuple(undecayed)
        )
        optimizer: torch.optim.Optimizer
        if recipe.optimizer == "sgd":
            optimizer = torch.optim.SGD(
                groups, recipe.lr, momentum=recipe.momentum, nesterov=True, fused=True
            )
        else:
            betas = (recipe.momentum, 0.999)
            optimizer = torch.optim.AdamW(groups, recipe.lr, betas=betas, fused=True)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: schedule(step, recipe.steps, recipe.warmup_steps)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }
