"""Images for training and evaluation, decoded once and kept in memory if they fit.

The training stream is indexed: the image at position p and its random changes depend on the seed
and p only. So the number of images, of worker processes and of images a batch changes neither the
number of steps nor the meaning of a seed.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from sip.augmentation.base import OfflineMode
from sip.augmentation.offline.none import NoGenerated
from sip.augmentation.sample.base import SampleTransform
from sip.classifier.base import LabelledImage
from sip.classifier.loading import Loading, decode, decode_all
from sip.classifier.positions import SplitPositions, StreamPositions
from sip.classifier.recipe import Recipe
from sip.classifier.rows import column, sources
from sip.classifier.targets import Targets
from sip.core.hashing import seed_of, seeded
from sip.core.image_io import file_sha256


class DecodedImages(Dataset[tuple[Tensor, int]]):
    """Images (3, size, size), uint8, and labels, in the rows' order.

    Args:
        max_bytes: Memory for the decoded images; if they need more, each is decoded again at
            each use. None for half of the free memory.
    """

    def __init__(
        self, rows: Sequence[LabelledImage], size: int, max_bytes: int | None = None
    ) -> None:
        self.rows = rows
        self.size = size
        self.labels = column(rows, "label")
        most = Loading().num_bytes() if max_bytes is None else max_bytes
        self.num_bytes = len(rows) * 3 * size**2
        self.kept = 0 < self.num_bytes <= most

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.rows)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        """Return one image and its label."""
        if self.memory is not None:
            return self.memory[position], self.labels[position]
        row = self.rows[position]
        pixels = torch.from_numpy(decode(row.path, self.size, file_sha256(row)))
        return pixels, self.labels[position]

    @cached_property
    def memory(self) -> Tensor | None:
        """All images (N, 3, size, size), uint8; None if they are not kept."""
        return decode_all(self.rows, self.size) if self.kept else None


def probabilities(rows: Sequence[LabelledImage]) -> Sequence[float | None]:
    """Return the verdict's probability of the label of each image; None if there is none."""
    return column(rows, "probability")


Item = tuple[Tensor, int | Tensor] | tuple[Tensor, int | Tensor, Tensor]


class Stream(Dataset[Item]):
    """`length` training images, pass after pass, each in a random order.

    Args:
        transforms: Applied to each image, in this order.
        offline: How generated images enter; None if all are real.
        num_classes: Number of classes; read only if an image has two.
    """

    def __init__(
        self,
        images: DecodedImages,
        transforms: Sequence[SampleTransform],
        length: int,
        seed: int,
        offline: OfflineMode | None = None,
        num_classes: int = 0,
    ) -> None:
        self.images, self.transforms, self.length, self.seed = images, transforms, length, seed
        self.offline = offline or NoGenerated()
        self.sources = sources(images.rows)
        self.weights = self.offline.weights(self.sources, probabilities(images.rows))
        self.targets = Targets(images.rows, num_classes)

    def __len__(self) -> int:
        """Return the number of images that the budget of steps takes."""
        return self.length

    def __getitem__(self, position: int) -> Item:
        """Return the changed image at a position of the stream, its label, its weight if any.

        The label is the class index, or (num_classes,) probabilities if an image has two classes.
        """
        number = int(self.order[position])
        label: int | Tensor
        image, label = self.images[number]
        if self.targets.are_soft:
            label = self.targets.of(self.order[position : position + 1])[0]
        if self.transforms:  # none needs no random numbers
            with seeded(seed_of(self.seed, "sample", position)):
                for transform in self.transforms:
                    image = transform(image)
        return (image, label) if self.weights is None else (image, label, self.weights[number])

    @cached_property
    def order(self) -> Tensor:
        """The image at each position: (length,), int64."""
        return self.offline.order(self.sources, self.length, self.seed)

    @property
    def pass_length(self) -> int:
        """Positions that one pass takes, which with `ratio` or `replace` are not all images."""
        return len(self.offline.pool(self.sources, self.seed))


class ShardedSplits(LightningDataModule):
    """Val and test, divided among the processes.

    Attributes:
        val, test: Data sets of (image, label).
    """

    recipe: Recipe
    val: Any
    test: Any

    def val_dataloader(self) -> DataLoader:
        """Return this process's share of the validation images."""
        return self._split(self.val)

    def test_dataloader(self) -> DataLoader:
        """Return this process's share of the test images."""
        return self._split(self.test)

    def place(self) -> tuple[int, int]:
        """Return this process's rank and the number of processes."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _split(self, images: Any) -> DataLoader:
        positions = SplitPositions(len(images), *self.place())
        return DataLoader(images, self.recipe.batch_size, sampler=positions)


class SplitData(ShardedSplits):
    """The three splits of one run.

    Args:
        size: Side of the images, px.
        transforms: Applied to each training image; val and test are not changed.
        loading: How images are read; affects only the speed.
        offline: How generated images enter the training; None if all are real.
        start: Optimiser steps of the checkpoint.
        num_classes: Number of classes; read only if an image has two.
    """

    def __init__(
        self,
        train: Sequence[LabelledImage],
        val: Sequence[LabelledImage],
        test: Sequence[LabelledImage],
        size: int,
        transforms: Sequence[SampleTransform],
        recipe: Recipe,
        seed: int,
        loading: Loading,
        offline: OfflineMode | None = None,
        start: int = 0,
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        self.recipe, self.loading, self.start = recipe, loading, start
        left = loading.num_bytes()
        splits = []
        for rows in (train, val, test):
            splits.append(DecodedImages(rows, size, left))
            left -= splits[-1].num_bytes if splits[-1].kept else 0
        self.train, self.val, self.test = splits
        length = recipe.steps * recipe.batch_size
        self.stream = Stream(self.train, transforms, length, seed, offline, num_classes)

    @property
    def device(self) -> torch.device:
        """Device of the network; the CPU before there is a trainer."""
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    def setup(self, stage: str) -> None:
        """Decode the images that are kept, before worker processes start and share them.

        And the order of the training, which each of them would make for itself.
        """
        if stage == "fit":
            _ = self.stream.order
        for images in (self.train, self.val) if stage == "fit" else (self.test,):
            _ = images.memory

    def train_dataloader(self) -> DataLoader:
        """Return the remaining steps as one pass, in order."""
        rank, world_size = self.place()
        steps, batch_size = self.recipe.steps, self.recipe.batch_size
        positions = StreamPositions(steps, batch_size, self.start, rank, world_size)
        workers = self.loading.num_workers(self.train.kept, self.device)
        return self._loader(self.stream, batch_size // world_size, positions, workers)

    def _split(self, images: DecodedImages) -> DataLoader:
        positions = SplitPositions(len(images), *self.place())
        workers = 0 if images.kept else self.loading.num_workers(False, self.device)
        return self._loader(images, self.recipe.batch_size, positions, workers)

    def _loader(
        self, images: Dataset, batch_size: int, positions: Sampler[int], num_workers: int
    ) -> DataLoader:
        return DataLoader(
            images,
            batch_size,
            sampler=positions,
            num_workers=num_workers,
            pin_memory=self.device.type == "cuda",
            persistent_workers=num_workers > 0,  # val is read many times
        )
