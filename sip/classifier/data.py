"""Pictures for training and evaluation: decoded once and kept as bytes where they fit in memory.

The training stream is endless and indexed: position p holds a picture and its random changes as
a function of the seed and p alone. So neither the number of pictures, nor worker processes, nor
the batch size of another arm changes how many steps are taken or what a seed means.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from sip.augmentation.base import Offline, SampleTransform
from sip.augmentation.offline.none import NoDrawn
from sip.augmentation.sample.none import AsIs
from sip.classifier.base import Row
from sip.classifier.loading import Loading, decode, decode_all
from sip.classifier.positions import SplitPositions, StreamPositions
from sip.classifier.recipe import Recipe
from sip.core.errors import UserError
from sip.core.hashing import seed_of, seeded
from sip.core.image_io import file_sha256


class Pictures(Dataset[tuple[Tensor, int]]):
    """Pictures (3, size, size), uint8, and labels, in the rows' order.

    Args:
        max_bytes: What they may take in memory, decoded; if it is less than all of them need, each
            is decoded anew at each use. None for half of the free memory.
    """

    def __init__(self, rows: Sequence[Row], size: int, max_bytes: int | None = None) -> None:
        self.rows = rows
        self.size = size
        self.labels = [row.label for row in rows]
        most = Loading().num_bytes() if max_bytes is None else max_bytes
        self.num_bytes = len(rows) * 3 * size**2
        self.kept = 0 < self.num_bytes <= most

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.rows)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        """Return one picture and its label."""
        if self.memory is not None:
            return self.memory[position], self.labels[position]
        row = self.rows[position]
        pixels = torch.from_numpy(decode(row.path, self.size, file_sha256(row)))
        return pixels, self.labels[position]

    @cached_property
    def memory(self) -> Tensor | None:
        """All pictures (N, 3, size, size), uint8; None where they are not kept."""
        return decode_all(self.rows, self.size) if self.kept else None


def sources(rows: Sequence[Row]) -> list[int | None]:
    """Return the position of each drawn picture's original, None for the real ones.

    A drawn row has a `source`, its original's `sample_id`.

    Raises:
        UserError: An original is not among the rows: its picture would leak into the training.
    """
    names = [getattr(row, "source", None) for row in rows]
    real = {
        row.sample_id: position
        for position, (row, name) in enumerate(zip(rows, names, strict=True))
        if name is None
    }
    strangers = [
        row.path
        for row, name in zip(rows, names, strict=True)
        if name is not None and name not in real
    ]
    if strangers:
        raise UserError(
            f"classifier: expected drawn pictures of pictures in train, {len(strangers)} are of "
            f"others ({', '.join(strangers[:3])}); draw from the same split and subset"
        )
    return [None if name is None else real[name] for name in names]


class Stream(Dataset[tuple[Tensor, int] | tuple[Tensor, int, Tensor]]):
    """`length` training pictures: one random order of all pictures after the other.

    Args:
        offline: How drawn pictures enter; all are real if left out.
    """

    def __init__(
        self,
        pictures: Pictures,
        transform: SampleTransform,
        length: int,
        seed: int,
        offline: Offline | None = None,
    ) -> None:
        self.pictures, self.transform, self.length, self.seed = pictures, transform, length, seed
        self.offline = offline or NoDrawn()
        self.sources = sources(pictures.rows)
        self.weights = self.offline.weights(self.sources)

    def __len__(self) -> int:
        """Return the number of pictures that the budget of steps takes."""
        return self.length

    def __getitem__(self, position: int) -> tuple[Tensor, int] | tuple[Tensor, int, Tensor]:
        """Return the changed picture at a position of the stream, its label, its weight if any."""
        number = int(self.order[position])
        picture, label = self.pictures[number]
        if not isinstance(self.transform, AsIs):  # which needs no random numbers
            with seeded(seed_of(self.seed, "sample", position)):
                picture = self.transform(picture)
        return (picture, label) if self.weights is None else (picture, label, self.weights[number])

    @cached_property
    def order(self) -> Tensor:
        """The picture at each position: (length,), int64."""
        return self.offline.order(self.sources, self.length, self.seed)

    @property
    def pass_length(self) -> int:
        """Positions that one pass takes, which with `ratio` or `replace` are not all pictures."""
        return len(self.offline.pool(self.sources, self.seed))


class Parted(LightningDataModule):
    """Val and test, dealt out among the processes.

    Attributes:
        val, test: Data sets of (picture, label).
    """

    recipe: Recipe
    val: Any
    test: Any

    def val_dataloader(self) -> DataLoader:
        """Return this process's share of the validation pictures."""
        return self._split(self.val)

    def test_dataloader(self) -> DataLoader:
        """Return this process's share of the test pictures."""
        return self._split(self.test)

    def place(self) -> tuple[int, int]:
        """Return this process's rank and the number of processes."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _split(self, pictures: Any) -> DataLoader:
        positions = SplitPositions(len(pictures), *self.place())
        return DataLoader(pictures, self.recipe.batch_size, sampler=positions)


class Pool(Parted):
    """The three splits of one run.

    Args:
        size: Side of the pictures, px.
        transform: What is done to each training picture; val and test stay as they are.
        loading: How they are read, which changes nothing but the speed.
        offline: How drawn pictures enter the training; all are real if left out.
        start: Optimiser steps that were taken before.
    """

    def __init__(
        self,
        train: Sequence[Row],
        val: Sequence[Row],
        test: Sequence[Row],
        size: int,
        transform: SampleTransform,
        recipe: Recipe,
        seed: int,
        loading: Loading,
        offline: Offline | None = None,
        start: int = 0,
    ) -> None:
        super().__init__()
        self.recipe, self.loading, self.start = recipe, loading, start
        left = loading.num_bytes()
        splits = []
        for rows in (train, val, test):
            splits.append(Pictures(rows, size, left))
            left -= splits[-1].num_bytes if splits[-1].kept else 0
        self.train, self.val, self.test = splits
        length = recipe.steps * recipe.batch_size
        self.stream = Stream(self.train, transform, length, seed, offline)

    @property
    def device(self) -> torch.device:
        """Where the network is; the CPU before there is a trainer."""
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    def setup(self, stage: str) -> None:
        """Decode what is kept, before the worker processes start, which then share it."""
        for pictures in (self.train, self.val) if stage == "fit" else (self.test,):
            _ = pictures.memory

    def train_dataloader(self) -> DataLoader:
        """Return what is left of the budget as one pass, in order."""
        rank, world_size = self.place()
        steps, batch_size = self.recipe.steps, self.recipe.batch_size
        positions = StreamPositions(steps, batch_size, self.start, rank, world_size)
        workers = self.loading.num_workers(self.train.kept, self.device)
        return self._loader(self.stream, batch_size // world_size, positions, workers)

    def _split(self, pictures: Pictures) -> DataLoader:
        positions = SplitPositions(len(pictures), *self.place())
        workers = 0 if pictures.kept else self.loading.num_workers(False, self.device)
        return self._loader(pictures, self.recipe.batch_size, positions, workers)

    def _loader(
        self, pictures: Dataset, batch_size: int, positions: Sampler[int], num_workers: int
    ) -> DataLoader:
        return DataLoader(
            pictures,
            batch_size,
            sampler=positions,
            num_workers=num_workers,
            pin_memory=self.device.type == "cuda",
            persistent_workers=num_workers > 0,  # val is read many times
        )
