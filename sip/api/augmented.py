"""Generated images inside somebody's own training code: next to, or in place of, the originals."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch.utils.data import Dataset

from sip.api.data import IMAGE_COLUMNS
from sip.api.run import Run, RunImage, require_own_classes
from sip.core.errors import UserError

IMAGE = 0  # place of the image in an item (image, label, ...)


class AugmentedDataset(Dataset[Any]):
    """A map-style data set with the images of a run.

    An item is what the data set gives, (image, label, ...) or a mapping with a key "image", with
    the generated image in the place of its original. Which one, and whether, is chosen by torch's
    random numbers: `torch.manual_seed`, Lightning's `seed_everything` and the seeds of a
    DataLoader's workers decide it.

    Args:
        dataset: The data set of the originals, in the order in which `sip.generate` got them, or
            one that knows its files (`samples`, such as torchvision's ImageFolder). With its own
            transforms, which are applied to generated images too if it keeps them as `transform`
            (torchvision's do); else they are for `transform`.
        run: The generated images.
        p: Probability that an item is a generated image, in [0, 1]. With `add`, unused.
        add: Whether all generated images come behind the originals, as further items.
        transform: Is applied to the image of every item, real or generated.

    Raises:
        UserError: A value is wrong, nothing of the data set is an original of the run, or its
            images are to show another class than their original's.
    """

    def __init__(
        self,
        dataset: Any,
        run: Run,
        p: float = 0.5,
        *,
        add: bool = False,
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        if not 0 <= p <= 1:
            raise UserError(f"p: must be in [0, 1], got {p!r}")
        if not isinstance(run, Run):
            raise UserError(
                f"run: must be a sip.Run, got {type(run).__name__}; open it: sip.Run(...)"
            )
        require_own_classes(run)
        self.dataset, self.p, self.add, self.transform = dataset, p, add, transform
        self._generated = _of_items(dataset, run)
        self._added = [
            (index, image)
            for index in range(len(dataset) if add else 0)
            for image in self._generated.get(index, [])
        ]

    def __len__(self) -> int:
        return len(self.dataset) + len(self._added)

    def __getitem__(self, index: int) -> Any:
        """Return an item, real or generated."""
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        if index >= len(self.dataset):
            original, image = self._added[index - len(self.dataset)]
            return self._item(original, image)
        images = self._generated.get(index)
        if self.add or not images or float(torch.rand(())) >= self.p:
            return self._item(index, None)
        return self._item(index, images[int(torch.randint(len(images), ()))])

    def _item(self, index: int, generated: RunImage | None) -> Any:
        """Return an item of the data set, with a generated image if there is one."""
        item = self.dataset[index]
        own = getattr(self.dataset, "transform", None)
        if isinstance(item, Mapping):
            key = next((name for name in IMAGE_COLUMNS if name in item), None)
            if key is None:
                shown = ", ".join(map(str, item))
                raise UserError(f"dataset: items must have a key 'image', got {shown}; rename it")
            image = item[key] if generated is None else self._like(item[key], generated, own)
            return {**item, key: self._transformed(image)}
        image = item[IMAGE] if generated is None else self._like(item[IMAGE], generated, own)
        return (self._transformed(image), *item[1:])

    def _like(self, real: Any, generated: RunImage, own: Callable[[Any], Any] | None) -> Any:
        """Return a generated image as the data set gives its original."""
        image = generated.image
        if own is not None:
            return own(image)
        if isinstance(real, Image.Image):
            return image if real.mode == "RGB" else image.convert(real.mode)
        raise UserError(
            "dataset: images must come as PIL images, or its transform must be its attribute "
            f"`transform`, got {type(real).__name__}; leave the transform out of the data set and "
            "give it to AugmentedDataset(..., transform=...)"
        )

    def _transformed(self, image: Any) -> Any:
        return image if self.transform is None else self.transform(image)


def _of_items(dataset: Any, run: Run) -> dict[int, list[RunImage]]:
    """Return index in the data set -> the images generated from that item.

    Raises:
        UserError: It is not known which items are the run's originals, or none is.
    """
    files = _files(dataset)
    if files is None:
        files = run.given
        if files is None or len(files) != len(dataset):
            of = "" if files is None else f", {len(files):,} items in that order"
            raise UserError(
                f"dataset: must be what sip.generate got{of}, or know its files (samples), got "
                f"{len(dataset):,} items without files; call sip.generate with this data set, or "
                "use sip.transforms.GeneratedImage, which knows originals by their pixels"
            )
    found = {
        index: images
        for index, file in enumerate(files)
        if (images := run.by_file.get(os.path.realpath(file)))
    }
    if not found:
        raise UserError(
            f"dataset: must hold originals of {run.folder}, got none of them among "
            f"{len(dataset):,} items, such as {files[0] if files else 'none'}"
        )
    return found


def _files(dataset: Any) -> Sequence[str] | None:
    """Return the files of a data set's items, if it knows them."""
    samples = getattr(dataset, "samples", None) or getattr(dataset, "imgs", None)
    if isinstance(samples, Sequence) and samples and isinstance(samples[0], tuple | list):
        files = [str(sample[0]) for sample in samples]
        return files if os.path.exists(files[0]) else None
    if callable(name_of := getattr(dataset, "filename", None)):  # timm's
        return [str(name_of(index, absolute=True)) for index in range(len(dataset))]
    return None
