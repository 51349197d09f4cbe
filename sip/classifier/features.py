"""A linear probe's training on kept features instead of images, in the same order."""

import time
from collections.abc import Sequence
from functools import cached_property
from typing import cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sip.augmentation.base import Augmentation
from sip.augmentation.mix.none import NoMix
from sip.augmentation.sample.none import AsIs
from sip.backbone.base import Backbone
from sip.classifier.base import LabelledImage
from sip.classifier.data import ShardedSplits, probabilities
from sip.classifier.kept_features import compute, kept_features
from sip.classifier.module import Classifier
from sip.classifier.positions import StreamPositions, check_share
from sip.classifier.recipe import Recipe
from sip.classifier.rows import sources
from sip.classifier.targets import Targets
from sip.classifier.tuning.probed import Probed
from sip.core.progress import say
from sip.core.uri import Place

Rows = Sequence[LabelledImage]
Splits = tuple[Rows, Rows, Rows]  # train, val, test


def can_be_kept(recipe: Recipe, augmentation: Augmentation) -> bool:
    """Return whether features can be kept: images reach a frozen backbone unchanged."""
    if not recipe.tuning.frozen:
        return False
    places = {"base": augmentation.base, "sample": augmentation.sample}
    changes = [f"augmentation.{place}" for place, one in places.items() if one != AsIs()]
    if not isinstance(augmentation.mix, NoMix):
        changes.append("augmentation.mix")
    if changes:
        text = " and ".join(changes)
        say("features", f"not cached, since {text} changes images: computed at each step")
    return not changes


def feature_data(
    module: Classifier,
    backbone: Backbone,
    augmentation: Augmentation,
    splits: Splits,
    seed: int,
    store: str | Place,
    num_workers: int = 2,
    start: int = 0,
) -> "FeatureData":
    """Return the three splits as features, computed if the store has none.

    Args:
        module: Module with the network of a linear probe, on the device that computes.
        splits: Images of train, val and test.
        store: The store.
        num_workers: Threads that read images.
        start: Optimiser steps of the checkpoint.

    Raises:
        UserError: An image cannot be read, or the network is not its features and one layer.
    """
    started = time.monotonic()
    network = cast(Probed, module.network)
    network.to(memory_format=torch.channels_last)  # faster convolutions, also on a CPU

    def extract(images: Tensor) -> Tensor:
        return compute(network, module.normalise(images.to(module.device)))

    rows = [row for split in splits for row in split]
    size = module.recipe.batch_size
    features, filled = kept_features(extract, backbone, rows, store, size, num_workers)
    seconds = time.monotonic() - started
    cached = filled.cached + filled.waited
    say("features", f"cached {cached}, computed {filled.computed}, {seconds:.1f} s")
    parts = features.split([len(split) for split in splits])
    num_classes = module.num_classes
    return FeatureData(parts, splits, augmentation, module.recipe, seed, start, num_classes)


class FeatureStream(Dataset[tuple[Tensor, ...]]):
    """The training's batches, in order: features, labels, and weights if any.

    Attributes:
        rank, world_size: This process, whose share of each batch is returned, and their number.
    """

    rank, world_size = 0, 1

    def __init__(
        self,
        features: Tensor,
        rows: Sequence[LabelledImage],
        augmentation: Augmentation,
        recipe: Recipe,
        seed: int,
        num_classes: int = 0,
    ) -> None:
        self.features, self.recipe, self.seed = features, recipe, seed
        self.targets = Targets(rows, num_classes)
        self.offline, self.sources = augmentation.offline, sources(rows)
        self.weights = self.offline.weights(self.sources, probabilities(rows))

    def __len__(self) -> int:
        """Return the number of steps."""
        return self.recipe.steps

    def __getitem__(self, step: int) -> tuple[Tensor, ...]:
        """Return the batch of a step: (B, D) float32, the targets, and (B,) float32 if any."""
        size = self.recipe.batch_size
        chosen = self.order[step * size : (step + 1) * size][self.rank :: self.world_size]
        batch = self.features[chosen], self.targets.of(chosen)
        return batch if self.weights is None else (*batch, self.weights[chosen])

    @cached_property
    def order(self) -> Tensor:
        """The image at each position of the training: (steps * batch_size,), int64."""
        length = self.recipe.steps * self.recipe.batch_size
        return self.offline.order(self.sources, length, self.seed)

    @property
    def pass_length(self) -> int:
        """Positions that one pass takes."""
        return len(self.offline.pool(self.sources, self.seed))


class FeatureData(ShardedSplits):
    """Like `sip.classifier.data.SplitData`, with features instead of images, in the same order.

    Args:
        features: (N, D), float32, of train, val and test.
        splits: Their images.
        start: Optimiser steps of the checkpoint.
        num_classes: Number of classes; read only if an image has two.
    """

    def __init__(
        self,
        features: Sequence[Tensor],
        splits: Splits,
        augmentation: Augmentation,
        recipe: Recipe,
        seed: int,
        start: int = 0,
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        self.recipe, self.start = recipe, start
        rows = splits[0]
        self.stream = FeatureStream(features[0], rows, augmentation, recipe, seed, num_classes)
        self.val, self.test = (
            list(zip(values, [row.label for row in rows], strict=True))
            for values, rows in zip(features[1:], splits[1:], strict=True)
        )

    def train_dataloader(self) -> DataLoader:
        """Return the remaining steps as one pass, a batch an item."""
        self.stream.rank, self.stream.world_size = self.place()
        # One position a step; the batch's size is checked for this number of processes.
        check_share(self.recipe.batch_size, self.stream.world_size)
        steps = StreamPositions(self.recipe.steps, 1, self.start)
        return DataLoader(self.stream, batch_size=None, sampler=steps)
