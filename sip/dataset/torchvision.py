"""The data sets that torchvision reads, with their official parts; the paper's seven among them.

A YAML names the reader of `torchvision.datasets`, the official parts with the arguments that ask
the reader for them, and a rule for each part that does not exist:

    no val    `val_fraction` of each class of train, chosen by `split_seed`
    no test   `train_per_class` pictures a class stay for train (and val), the rest is test;
              or `test_fraction` of each class is test

Both rules rank pictures by a hash (`sip.dataset.subsets`) and never see the run's seed, so that
val and test are the same in all runs.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torchvision import datasets

from sip.core.errors import UserError
from sip.dataset.base import Split
from sip.dataset.files import Entry, from_file, from_pixels, missing, prompt_words
from sip.dataset.reader import Listing, Reader
from sip.dataset.subsets import Subset, make_parts, per_class

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
    if isinstance(reader, datasets.STL10):  # (N, 3, H, W)
        return list(zip(reader.data.transpose(0, 2, 3, 1), map(int, reader.labels), strict=True))
    if isinstance(reader, datasets.ImageFolder):  # EuroSAT is one
        return [(Path(path), label) for path, label in reader.samples]
    for files, labels in FILE_ATTRIBUTES:
        if hasattr(reader, files):
            pairs = zip(getattr(reader, files), getattr(reader, labels), strict=True)
            return [(Path(path), int(label)) for path, label in pairs]
    raise TypeError(f"no rule to list the pictures of {type(reader).__name__}")


class TorchVision(Reader):
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
        val_fraction: Share of train that is val, in [0, 1); None where val is official.
        test_fraction: Share of all that is test, in (0, 1); None where test is official, or where
            `train_per_class` makes it.
        train_per_class: Pictures a class that are not test; None likewise.
        pretrain_fraction: Share of each class of train, test taken out, that becomes the part
            `pretrain`: what generators of one's own may learn from, and nothing else. None: none.
        train_part: Part that the classifier trains on, of which shots are taken: `train`, or
            `pretrain` for the upper bound of what a generator can give.
        split_seed: Of these rules.
        prompt_names: The reader's class name -> words that fit a prompt, where they differ.
        shots, fraction, imbalance, label_noise, seed: See `sip.dataset.subsets.Subset`.
    """

    def __init__(
        self,
        name: str,
        reader: str,
        root: str,
        folder: str,
        download: bool,
        how_to_get: str,
        parts: dict[Split, dict[str, Any]],
        val_fraction: float | None,
        test_fraction: float | None,
        train_per_class: int | None,
        pretrain_fraction: float | None,
        train_part: Split,
        split_seed: int,
        prompt_names: dict[str, str],
        shots: int | None,
        fraction: float | None,
        imbalance: float | None,
        label_noise: float | None,
        seed: int,
    ) -> None:
        super().__init__(Subset(shots, fraction, imbalance, label_noise, seed))
        rules = {
            "val": {"val_fraction": val_fraction},
            "test": {"test_fraction": test_fraction, "train_per_class": train_per_class},
        }
        for part, values in rules.items():
            num = sum(value is not None for value in values.values())
            if num != (part not in parts):
                state = "is official: expected null" if part in parts else "does not exist: set one"
                came = ", ".join(f"{rule}={value}" for rule, value in values.items())
                raise UserError(f"dataset: part {part!r} of {name} {state}, came {came}")
        self.name = name
        self.reader = reader
        self.root = Path(root)
        self.folder = folder
        self.download = download
        self.how_to_get = how_to_get
        self.parts = parts
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction
        self.train_per_class = train_per_class
        self.split_seed = split_seed
        self._set_aside(pretrain_fraction, train_part)
        self.prompt_names = prompt_names

    def facts(self) -> dict[str, Any]:
        """Return what decides the pictures of the whole splits."""
        facts = {
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
        if self.test_fraction is not None:
            facts["test_fraction"] = self.test_fraction
        return facts | self._later_facts()

    def listing(self) -> Listing:
        """Return the classes and the entries, in the reader's order.

        Raises:
            UserError: The data are not there.
        """
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
        make_parts(
            entries, self.test_fraction, self.val_fraction, self.split_seed, self.pretrain_fraction
        )
        train = readers["train"]
        raw = train.categories if hasattr(train, "categories") else train.classes
        return prompt_words(raw, self.prompt_names), entries

    def _open(self, arguments: dict[str, Any]) -> Any:
        """Return torchvision's reader of one part."""
        reader = getattr(datasets, self.reader)
        try:
            return reader(str(self.root), download=self.download, **arguments)
        except (RuntimeError, OSError, ValueError, KeyError) as error:
            raise missing(self.name, self.root / self.folder, error, self.how_to_get) from error

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
