"""The data sets that torchvision reads, with their official parts; the paper's seven among them.

A YAML names the reader of `torchvision.datasets`, the official parts with the arguments that ask
the reader for them, and a rule for each part that does not exist:

    no val    `val_fraction` of each class of train, chosen by `split_seed`
    no test   `train_per_class` images a class stay for train (and val), the rest is test;
              or `test_fraction` of each class is test

Both rules rank images by a hash (`sip.dataset.subsets`) and never see the run's seed, so that
val and test are the same in all runs.
"""

import hashlib
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sip.core.component import component, ignored, refuse
from sip.core.ranges import Count, Seed
from sip.dataset.base import Split
from sip.dataset.files import Entry, ImageFile, from_pixels, missing
from sip.dataset.folders import inside
from sip.dataset.labels import PromptNames, prompt_words
from sip.dataset.reader import Listing, PretrainReader
from sip.dataset.subsets import HeldOut, make_parts, per_class

# Where readers keep (files, labels). torchvision has no common public name for them; the images
# that `reader[i]` decodes would lose the file, which is the row's source.
FILE_ATTRIBUTES = (("_image_files", "_labels"), ("_images", "_labels"))


def list_images(reader: Any) -> list[tuple[Path | np.ndarray, int]]:
    """Return (file or pixels (H, W, 3) uint8, label) of each image, in the reader's order.

    Raises:
        TypeError: A kind of reader that is not known here.
    """
    from torchvision import datasets

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
    if isinstance(reader, datasets.STL10):  # (N, 3, H, W)
        return list(zip(reader.data.transpose(0, 2, 3, 1), map(int, reader.labels), strict=True))
    if isinstance(reader, datasets.ImageFolder):  # EuroSAT is one
        return [(Path(path), label) for path, label in reader.samples]
    for files, labels in FILE_ATTRIBUTES:
        if hasattr(reader, files):
            pairs = zip(getattr(reader, files), getattr(reader, labels), strict=True)
            return [(Path(path), int(label)) for path, label in pairs]
    raise TypeError(f"no rule to list the images of {type(reader).__name__}")


@component
class TorchVision(PretrainReader):
    """A data set of `torchvision.datasets`.

    Args:
        name: Begins the sample ids.
        reader: Class name in `torchvision.datasets`.
        root: Folder that contains `folder`.
        folder: The reader's own folder under `root`; images that it ships as arrays are written
            to `<name>-png` next to it when first asked for, those of other arguments apart.
        download: Whether the reader may fetch missing files.
        how_to_get: Ends the message if data are missing.
        parts: Official part -> arguments of the reader.
        val_fraction: Share of each class of train that is val; None if val is official.
        test_fraction: Share of each class that is test; None if test is official, or if
            `train_per_class` makes it.
        train_per_class: Images a class that are not test; None likewise.
        split_seed: Seed of the parts that these rules make.
        prompt_names: The reader's class name -> words that fit a prompt, if they differ.
    """

    name: str
    reader: str
    root: str = ignored()
    folder: str = ignored()
    download: bool = ignored()
    how_to_get: str = ignored()
    parts: dict[Split, dict[str, Any]]
    val_fraction: HeldOut | None
    test_fraction: HeldOut | None
    train_per_class: Count | None
    split_seed: Seed
    prompt_names: PromptNames

    def __post_init__(self) -> None:
        """Refuse two rules for a part, or none."""
        super().__post_init__()
        for part, rules in (
            ("val", ["val_fraction"]),
            ("test", ["test_fraction", "train_per_class"]),
        ):
            given = [rule for rule in rules if getattr(self, rule) is not None]
            wanted = 0 if part in self.parts else 1
            if len(given) != wanted:
                rule = "null, since the part is official" if part in self.parts else "set"
                if len(given) > 1:
                    rule = f"null if dataset.{given[0]} is set"
                key = given[-1] if given else rules[0]
                raise refuse(key, rule, getattr(self, key), f"one rule for the part {part}")

    @property
    def place(self) -> Path:
        """Folder that contains `folder`."""
        return Path(self.root).expanduser()

    def listing(self) -> Listing:
        """Return the classes and the entries, in the reader's order.

        Raises:
            UserError: The data are missing, or torchvision has no such reader.
        """
        readers = {part: self._open(arguments) for part, arguments in self.parts.items()}
        entries = {part: self._entries(part, images) for part, (_, images) in readers.items()}
        if self.train_per_class is not None:
            entries["train"], entries["test"] = per_class(
                entries["train"], self.train_per_class, self.split_seed
            )
        make_parts(
            entries, self.test_fraction, self.val_fraction, self.split_seed, self.pretrain_fraction
        )
        train = readers["train"][0]
        raw = train.categories if hasattr(train, "categories") else train.classes
        return prompt_words(raw, self.prompt_names), entries

    def _open(self, arguments: dict[str, Any]) -> tuple[Any, list[tuple[Path | np.ndarray, int]]]:
        """Return torchvision's reader of one part, and its images.

        Raises:
            UserError: Data are missing or damaged, or torchvision has no such reader.
        """
        from torchvision import datasets

        reader = getattr(datasets, self.reader, None)
        if reader is None:
            raise refuse("reader", "a class of torchvision.datasets", self.reader)
        try:
            opened = reader(str(self.place), download=self.download, **arguments)
            return opened, list_images(opened)
        except Exception as error:  # of damaged lists and pickles readers raise many kinds
            how_to_get = self.how_to_get
            if self.download:  # it was tried: the rest of the advice is left
                other_way = how_to_get.partition(", or ")[2] or how_to_get
                how_to_get = f"the download failed: check the network, or {other_way}"
            place = self.place / self.folder
            raise missing(self.name, place, error, how_to_get) from error

    def _entries(self, part: str, images: Sequence[tuple[Any, int]]) -> list[Entry]:
        """Name the images of a part: by their files or, if there are none, by part and place."""
        if images and isinstance(images[0][0], Path):
            names = inside(self.place / self.folder, [os.fspath(file) for file, _ in images])
            return [
                Entry.of_file(f"{self.name}/{name}", label, file)
                for name, (file, label) in zip(names, images, strict=True)
            ]
        identity = _identity(images)  # other arguments of the reader may give other pixels
        folder = self.place / f"{self.name}-png" / f"{part}-{identity}"
        return [
            Entry(
                f"{self.name}/{part}/{index:05d}",
                label,
                partial(_open, folder / f"{index:05d}.png", pixels),
                f"{identity}/{index}",
                is_row=True,
            )
            for index, (pixels, label) in enumerate(images)
        ]


def _open(path: Path, pixels: np.ndarray) -> ImageFile:
    return from_pixels(path, Image.fromarray(pixels))


def _identity(images: Sequence[tuple[Any, int]]) -> str:
    """Return a name for the pixels of a part that changes if one of them does."""
    sha256 = hashlib.sha256()
    for pixels, _ in images:
        sha256.update(pixels.tobytes())
    return sha256.hexdigest()[:16]
