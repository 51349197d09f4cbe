"""The data sets that torchvision reads, with their official parts; the paper's seven among them.

A YAML names the reader of `torchvision.datasets`, the official parts with the arguments that ask
the reader for them, and a rule for each part that does not exist:

    no val    `val_fraction` of each class of train, chosen by `split_seed`
    no test   `train_per_class` pictures a class stay for train (and val), the rest is test

Both rules rank pictures by a hash (`sip.dataset.subsets`) and never see the run's seed, so that
val and test are the same in all runs.
"""

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torchvision import datasets

from sip.common.errors import UserError
from sip.dataset.base import Sample, Split
from sip.dataset.files import (
    Entry,
    from_file,
    from_pixels,
    prompt_words,
    require_part,
    to_samples,
)
from sip.dataset.subsets import few_shot, hold_out, per_class

# Where readers keep (files, labels). torchvision has no common public name for them; the pictures
# that `reader[i]` decodes would lose the file, which is the row's source.
FILE_ATTRIBUTES = (("_image_files", "_labels"), ("_images", "_labels"))


def list_pictures(reader: Any) -> list[tuple[Path | np.ndarray, int]]:
    """Return (file or pixels (H, W, 3) uint8, label) of each picture, in the reader's order.

    Raises:
        TypeError: A kind of reader that is not known here.
    """
    if isinstance(reader, datasets.CIFAR10):  # CIFAR100 is a subclass
        return list(zip(reader.data, reader.targets, strict=True))
    if isinstance(reader, datasets.Caltech101):
        folder = Path(reader.root, "101_ObjectCategories")
        return [
            (folder / reader.categories[label] / f"image_{number:04d}.jpg", label)
            for number, label in zip(reader.index, reader.y, strict=True)
        ]
    if isinstance(reader, datasets.StanfordCars):
        return [(Path(path), int(label)) for path, label in reader._samples]
    for files, labels in FILE_ATTRIBUTES:
        if hasattr(reader, files):
            pairs = zip(getattr(reader, files), getattr(reader, labels), strict=True)
            return [(Path(path), int(label)) for path, label in pairs]
    raise TypeError(f"no rule to list the pictures of {type(reader).__name__}")


class TorchVision:
    """A data set of `torchvision.datasets`.

    Args:
        name: Begins the sample ids.
        reader: Class name in `torchvision.datasets`.
        root: Folder that holds `folder`.
        folder: The reader's own folder under `root`; pictures that it ships as arrays are written
            to `<name>-png` beside it when first asked for.
        download: Whether the reader may fetch what is missing.
        how_to_get: Ends the message if data are missing.
        parts: Official part -> arguments of the reader.
        val_fraction: Share of train that is val, in (0, 1); None where val is official.
        train_per_class: Pictures a class that are not test; None where test is official.
        split_seed: Of the two rules.
        prompt_names: The reader's class name -> words that fit a prompt, where they differ.
        shots: Training pictures a class; None for all.
        seed: Chooses the shots.
    """

    def __init__(
        self,
        name: str,
        reader: str,
        root: str,
        folder: str,
        download: bool,
        how_to_get: str,
        parts: dict[str, dict[str, Any]],
        val_fraction: float | None,
        train_per_class: int | None,
        split_seed: int,
        prompt_names: dict[str, str],
        shots: int | None,
        seed: int,
    ) -> None:
        for part, rule, value in (
            ("val", "val_fraction", val_fraction),
            ("test", "train_per_class", train_per_class),
        ):
            if (part in parts) == (value is not None):
                state = "is official: expected null" if part in parts else "does not exist: set it"
                raise UserError(f"dataset.{rule}: part {part!r} of {name} {state}, came {value}")
        self.name = name
        self.reader = reader
        self.root = Path(root)
        self.folder = folder
        self.download = download
        self.how_to_get = how_to_get
        self.parts = parts
        self.val_fraction = val_fraction
        self.train_per_class = train_per_class
        self.split_seed = split_seed
        self.prompt_names = prompt_names
        self.shots = shots
        self.seed = seed

    def recipe(self) -> dict:
        """Return everything that decides which pictures the splits hold."""
        recipe = {
            "class": "sip.dataset.torchvision.TorchVision",
            "version": 1,
            "name": self.name,
            "reader": self.reader,
            "parts": self.parts,
            "val_fraction": self.val_fraction,
            "train_per_class": self.train_per_class,
            "split_seed": self.split_seed,
            "prompt_names": self.prompt_names,
        }
        if self.shots is not None:
            recipe |= {"shots": self.shots, "seed": self.seed}
        return recipe

    @property
    def class_names(self) -> Sequence[str]:
        """The classes in words that fit a prompt, in the order of the labels."""
        return self._read[0]

    def samples(self, split: Split) -> list[Sample]:
        """Return the rows of one split.

        Raises:
            UserError: The data are not there, or there is no such split.
        """
        require_part(split, ("train", "val", "test"))
        class_names, entries = self._read
        rows: Sequence[Entry] = entries[split]
        if split == "train":
            rows = few_shot(rows, self.shots, self.seed)
        return to_samples(rows, class_names, split)

    @cached_property
    def _read(self) -> tuple[tuple[str, ...], dict[str, list[Entry]]]:
        """Class names, and the entries of train, val and test."""
        readers = {part: self._open(arguments) for part, arguments in self.parts.items()}
        entries = {
            part: [
                self._entry(part, index, picture, label)
                for index, (picture, label) in enumerate(list_pictures(reader))
            ]
            for part, reader in readers.items()
        }
        if self.train_per_class is not None:
            entries["train"], entries["test"] = per_class(
                entries["train"], self.train_per_class, self.split_seed
            )
        if self.val_fraction is not None:
            entries["train"], entries["val"] = hold_out(
                entries["train"], self.val_fraction, self.split_seed
            )
        train = readers["train"]
        raw = train.categories if hasattr(train, "categories") else train.classes
        return prompt_words(raw, self.prompt_names), entries

    def _open(self, arguments: dict[str, Any]) -> Any:
        """Return torchvision's reader of one part."""
        reader = getattr(datasets, self.reader)
        try:
            return reader(str(self.root), download=self.download, **arguments)
        except (RuntimeError, OSError, ValueError) as error:
            raise UserError(
                f"expected the data set {self.name} in {(self.root / self.folder).resolve()}, "
                f"not found whole ({' '.join(str(error).split())[:200]}); {self.how_to_get}"
            ) from error

    def _entry(self, part: str, index: int, picture: Path | np.ndarray, label: int) -> Entry:
        """Name one picture: by its file, or by official part and place where there is none."""
        if isinstance(picture, Path):
            inside = picture.relative_to(self.root / self.folder).as_posix()
            return Entry(f"{self.name}/{inside}", label, partial(from_file, picture))
        path = self.root / f"{self.name}-png" / part / f"{index:05d}.png"
        return Entry(
            f"{self.name}/{part}/{index:05d}",
            label,
            lambda: from_pixels(path, Image.fromarray(picture)),
        )
