"""Features of a frozen backbone: computed once for each image and kept in the store.

    store/features/<model>-<recipe>/    a row an image, its features (D,) float32 as an .npy file

The recipe is the backbone's, the key the image's content, so runs with other seeds, subsets, heads
and classes share them. They are computed in float32 at any training precision; batch size and
device affect only their rounding.
"""

import hashlib
import io
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sip.augmentation.base import Augmentation
from sip.augmentation.mix.none import NoMix
from sip.augmentation.sample.none import AsIs
from sip.backbone.base import Backbone
from sip.classifier.base import LabelledImage
from sip.classifier.data import ShardedSplits, sources
from sip.classifier.loading import decode
from sip.classifier.module import Classifier
from sip.classifier.positions import StreamPositions, check_share
from sip.classifier.recipe import Recipe
from sip.classifier.tuning.probed import Probed
from sip.core.errors import UserError
from sip.core.image_io import file_sha256
from sip.core.progress import say
from sip.core.tars import read_bytes, read_checked
from sip.core.threads import prefetch
from sip.store.fill import Add, fill
from sip.store.stage import Store

SHARD_SIZE = 4096  # rows that are committed together
AHEAD = 2  # batches of images that are read and wait
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
    store: str | Path,
    num_workers: int = 2,
    start: int = 0,
) -> "FeatureData":
    """Return the three splits as features, computed if the store has none.

    Args:
        module: Module with the network of a linear probe, on the device that computes.
        splits: Images of train, val and test.
        store: Folder of the store.
        num_workers: Threads that read images.
        start: Optimiser steps of the checkpoint.

    Raises:
        UserError: An image cannot be read, or the network is not its features and one layer.
    """
    started = time.monotonic()
    recipe = {"class": "sip.classifier.features.Features", "version": 1}
    named = str(backbone.recipe().get("name", type(backbone).__name__))
    stage = Store(store).stage("features", named, {**recipe, "backbone": backbone.recipe()})
    keys = [[content_key(row) for row in rows] for rows in splits]
    rows_of = {
        key: row
        for rows, names in zip(splits, keys, strict=True)
        for row, key in zip(rows, names, strict=True)
    }

    def read(batch: Sequence[tuple[str, LabelledImage]]) -> Tensor:
        size = backbone.input_size
        images = [decode(row.path, size, file_sha256(row)) for _, row in batch]
        return torch.from_numpy(np.stack(images))

    def make(batches: Iterator[list[tuple[str, LabelledImage]]], add: Add) -> None:
        with prefetch(batches, read, num_workers, AHEAD) as ready:
            for batch, images in ready:
                features = compute(module, images).numpy()
                for (key, _), values in zip(batch, features, strict=True):
                    add({"key": key, "payload": npy(values), "suffix": ".npy"})

    wanted = {key: (key, row) for key, row in rows_of.items()}
    size = module.recipe.batch_size
    filled = fill(stage, wanted, make, size, SHARD_SIZE, storage="webdataset", unit="image")
    numbers = {key: number for number, key in enumerate(wanted)}
    table = [np.load(io.BytesIO(checked(row))) for row in stage.each(list(wanted))]
    features = torch.from_numpy(np.stack(table))
    seconds = time.monotonic() - started
    cached = filled.cached + filled.waited
    say("features", f"cached {cached}, computed {filled.computed}, {seconds:.1f} s")
    parts = [features[[numbers[key] for key in names]] for names in keys]
    return FeatureData(parts, splits, augmentation, module.recipe, seed, start)


def content_key(row: LabelledImage) -> str:
    """Return the hash of an image's content."""
    known = getattr(row, "sha256", None) or file_sha256(row)
    return known or hashlib.sha256(read_bytes(row.path)).hexdigest()


def checked(row: dict) -> bytes:
    """Return the file of a row of the store."""
    return read_checked(row["file"], row["file_sha256"])


def compute(module: Classifier, images: Tensor) -> Tensor:
    """Return the features (B, D), float32, of images (B, 3, H, W), uint8.

    Raises:
        UserError: The network has more than one layer between them and its logits.
    """
    network = cast(Probed, module.network)
    with torch.inference_mode():
        given = module.normalise(images.to(module.device))
        features = network.features(given)
        if not torch.allclose(network(features[:1]), network.model(given[:1]), 1e-2, 1e-3):
            raise UserError(
                f"classifier/tuning=probe: a {type(network.model).__name__} is more than features "
                "and one linear layer; choose another backbone, or classifier=finetune"
            )
        return features.float().cpu()


def npy(values: np.ndarray) -> bytes:
    """Return an array as the bytes of an .npy file."""
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


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
    ) -> None:
        self.features, self.recipe, self.seed = features, recipe, seed
        self.labels = torch.tensor([row.label for row in rows])
        self.offline, self.sources = augmentation.offline, sources(rows)
        self.weights = self.offline.weights(self.sources)

    def __len__(self) -> int:
        """Return the number of steps."""
        return self.recipe.steps

    def __getitem__(self, step: int) -> tuple[Tensor, ...]:
        """Return the batch of a step: (B, D) float32, (B,) int64 and (B,) float32 if any."""
        size = self.recipe.batch_size
        chosen = self.order[step * size : (step + 1) * size][self.rank :: self.world_size]
        batch = self.features[chosen], self.labels[chosen]
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
    """

    def __init__(
        self,
        features: Sequence[Tensor],
        splits: Splits,
        augmentation: Augmentation,
        recipe: Recipe,
        seed: int,
        start: int = 0,
    ) -> None:
        super().__init__()
        self.recipe, self.start = recipe, start
        self.stream = FeatureStream(features[0], splits[0], augmentation, recipe, seed)
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
