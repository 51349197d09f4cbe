"""The classifier as a LightningModule: cross entropy to soft targets, top-1 accuracy."""

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from pytorch_lightning import LightningModule
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn
from torchmetrics import MeanMetric

from sip.augmentation.base import Mix
from sip.classifier.recipe import Recipe
from sip.common.seeds import seed_of

Batch = tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor]  # pictures, labels, weights if any


def weighted_cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    """Return the cross entropy, each row's divided by the sum of all rows' weights.

    On several devices the sum is the mean of theirs: their gradients are averaged afterwards.

    Args:
        logits: (B, num_classes).
        targets: (B, num_classes): probabilities times the row's weight, which is its sum, > 0.
    """
    weights = targets.sum(1)
    losses = F.cross_entropy(
        logits, targets / weights[:, None], label_smoothing=label_smoothing, reduction="none"
    )
    total = weights.sum()
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(total)
        total = total / dist.get_world_size()
    return (losses * weights).sum() / total


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
        self.train_loss = MeanMetric()  # since the last validation
        self.train_loss.persistent(True)  # a resumed training goes on with it
        self.logits = torch.empty(0)  # (N, num_classes), float32, CPU: of the last evaluation
        self._seen: list[tuple[Tensor, Tensor]] = []  # logits and labels of the one that runs

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
        self.log("train/loss", loss)
        self.log("lr", self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        return loss

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """Make random numbers inside depend on the seed, the step and the process rank alone."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed_of(self.seed, "step", self.global_step, self.global_rank))
            yield

    def validation_step(self, batch: Batch, batch_number: int) -> None:
        """Collect the logits of a batch of val."""
        pictures, labels, *_ = batch
        self._seen.append((self(pictures).float(), labels))

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        """Log accuracy and loss on val."""
        self._evaluate("val")

    def on_test_epoch_end(self) -> None:
        """Log accuracy and loss on test."""
        self._evaluate("test")

    def _evaluate(self, split: str) -> None:
        """Log accuracy and loss of what was collected, over all processes."""
        logits = self._gathered(torch.cat([logits for logits, _ in self._seen]))
        labels = self._gathered(torch.cat([labels for _, labels in self._seen]))
        self._seen = []
        self.log(f"{split}/loss", F.cross_entropy(logits, labels))
        self.log(f"{split}/accuracy", (logits.argmax(1) == labels).float().mean())
        self.logits = logits.cpu()

    def _gathered(self, rows: Tensor) -> Tensor:
        """Return the rows of all processes in the split's order; rank r has r, r + W, ..."""
        if self.trainer.world_size == 1:
            return rows
        lengths = self.all_gather(torch.tensor(len(rows), device=self.device))
        longest = int(lengths.max())
        padded = torch.cat([rows, rows.new_zeros(longest - len(rows), *rows.shape[1:])])
        dealt = self.all_gather(padded).transpose(0, 1)  # (longest, W, ...)
        return dealt.reshape(-1, *rows.shape[1:])[: int(lengths.sum())]

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
