"""The classifier as a LightningModule: cross entropy to soft targets, top-1 accuracy."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from pytorch_lightning import LightningModule
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torchmetrics import MeanMetric

from sip.augmentation.base import Mix
from sip.classifier.optimisation import make_optimizer, make_scheduler
from sip.classifier.recipe import Recipe
from sip.core.hashing import seed_of, seeded

# Images, class indices (in training also probabilities of the classes), weights if any.
Batch = tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor]

LOG_EVERY = 10  # steps between points of the curves


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


class Classifier(LightningModule):
    """A network with its training.

    The `state_dict` holds everything that training changes, including the moving average.

    Args:
        network: From normalised images to logits, fresh; the recipe's tuning is applied to it.
        mix: Applied to each training batch.
        mean, std: Per channel, of pixels in [0, 1].
        seed: Seed of the random numbers of `mix`.
        pass_length: Training images; curves count passes over them.
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
        pass_length: int,
    ) -> None:
        super().__init__()
        mix.require(network)
        self.network, self.recipe, self.mix = recipe.tuning.apply(network), recipe, mix
        self.average = moving_average(self.network, recipe.ema_decay)
        self.num_classes, self.seed, self.pass_length = num_classes, seed, pass_length
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        # Since the last validation. A check for NaN would wait for the device at each step.
        self.train_loss = MeanMetric(nan_strategy="disable")
        self.train_loss.persistent(True)  # a resumed training goes on with it
        self.logits = torch.empty(0)  # (N, num_classes), float32, CPU: of the last evaluation
        self._seen: list[tuple[Tensor, Tensor]] = []  # logits and labels of the current one

    def setup(self, stage: str) -> None:
        """Use the NHWC memory format on a GPU, where convolutions are faster with it."""
        if self.trainer.strategy.root_device.type == "cuda":
            self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, num_classes) of images (B, 3, H, W), uint8, or of their features."""
        return self.evaluated(self.normalise(images))

    def normalise(self, images: Tensor) -> Tensor:
        """Return float32 images with mean and std removed; a probe's features as they are."""
        if images.dim() == 2:
            return images
        return (images.float() / 255 - self.mean) / self.std

    @property
    def evaluated(self) -> nn.Module:
        """The network that is evaluated and kept: the moving average if there is one."""
        return self.network if self.average is None else self.average.module

    def weights(self) -> dict[str, Tensor]:
        """Return the evaluated network's state, as a plain network of the backbone takes it."""
        return self.recipe.tuning.weights(self.evaluated)

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Evaluate these weights from now on; they are what `weights` returned."""
        self.network = self.recipe.tuning.load(self.evaluated, weights)
        self.average = None

    def training_step(self, batch: Batch, batch_number: int) -> Tensor:
        """Return the loss of a batch after `mix`."""
        images, labels, *weights = batch
        targets = labels  # (B, num_classes): images of two classes each have both
        if labels.dim() == 1:
            targets = F.one_hot(labels, self.num_classes).float()
        if weights:
            targets = targets * weights[0][:, None]
        with self.seeded():
            images = self.normalise(images)
            logits, targets = self.mix(self.network, images, targets)
        criterion = weighted_cross_entropy if weights else F.cross_entropy
        loss = criterion(logits, targets, label_smoothing=self.recipe.label_smoothing)
        self.train_loss.update(loss.detach())
        if (self.global_step + 1) % LOG_EVERY == 0:  # each call costs time, the second a copy
            self._log_passes(self.global_step + 1)
            self.log("train/loss", loss)
            self.log("lr", self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        return loss

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """Make random numbers inside depend on the seed, the step and the process rank only."""
        with seeded(seed_of(self.seed, "step", self.global_step, self.global_rank), self.device):
            yield

    def validation_step(self, batch: Batch, batch_number: int) -> None:
        """Collect the logits of a batch of val."""
        images, labels, *_ = batch
        self._seen.append((self(images).float(), labels))

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        """Log accuracy and loss on val."""
        self._evaluate("val")

    def on_test_epoch_end(self) -> None:
        """Log accuracy and loss on test."""
        self._evaluate("test")

    def _evaluate(self, split: str) -> None:
        """Log accuracy and loss of the collected batches of all processes."""
        logits = self._gathered(torch.cat([logits for logits, _ in self._seen]))
        labels = self._gathered(torch.cat([labels for _, labels in self._seen]))
        self._seen = []
        self._log_passes(self.global_step)
        self.log(f"{split}/loss", F.cross_entropy(logits, labels))
        self.log(f"{split}/accuracy", (logits.argmax(1) == labels).float().mean())
        self.logits = logits.cpu()

    def _log_passes(self, steps: int) -> None:
        """Log passes over the training images as "epoch"; Lightning's own stays 0."""
        self.log("epoch", steps * self.recipe.batch_size / self.pass_length)

    def _gathered(self, rows: Tensor) -> Tensor:
        """Return the rows of all processes in the split's order; rank r has r, r + W, ..."""
        if self.trainer.world_size == 1:
            return rows
        lengths = cast(Tensor, self.all_gather(torch.tensor(len(rows), device=self.device)))
        longest = int(lengths.max())
        padded = torch.cat([rows, rows.new_zeros(longest - len(rows), *rows.shape[1:])])
        dealt = cast(Tensor, self.all_gather(padded)).transpose(0, 1)  # (longest, W, ...)
        return dealt.reshape(-1, *rows.shape[1:])[: int(lengths.sum())]

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take a step and update the average with it: no hook sees one without the other."""
        super().optimizer_step(*args, **kwargs)
        if self.average is not None:  # Lightning counts the step only after this
            self.average.update(self.network, self.global_step + 1)

    def configure_optimizers(self) -> Any:
        """Return the optimiser and its schedule by steps."""
        optimizer = make_optimizer(self.network, self.recipe)
        scheduler = make_scheduler(optimizer, self.recipe)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


def moving_average(network: nn.Module, decay: float | None) -> ModelEmaV3 | None:
    """Return timm's moving average of a network, None without a decay; it takes no gradients.

    It warms up; else it would stay near the initial weights for 1 / (1 - decay) steps.
    """
    if decay is None:
        return None
    average = ModelEmaV3(network, decay, use_warmup=True)
    average.requires_grad_(False)
    return average
