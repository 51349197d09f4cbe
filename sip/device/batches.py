"""Batches of images that were read and prepared for a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from sip.core.image_io import file_sha256, read_rgb

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    Prepared = Tensor | list[dict[str, Tensor]]

Item = TypeVar("Item")


class HasPath(Protocol):
    """An image in a file; a `Sample` is one."""

    @property
    def path(self) -> str:
        """Path of the image file."""


@dataclass(frozen=True)
class ImageBatch(Generic[Item]):
    """Items with their images, as a model takes them.

    Attributes:
        items: All items of the batch.
        errors: For each item why its image cannot be read; None if it can.
        pixels: (readable items, ...), float32, or a mapping of tensors for each readable item;
            None if no image can be read.
    """

    items: Sequence[Item]
    errors: Sequence[str | None]
    pixels: "Prepared | None"

    def __len__(self) -> int:
        return len(self.items)

    @property
    def readable(self) -> list[Item]:
        """The items of `pixels`."""
        return list(compress(self.items, self._is_readable))

    def part(self, rows: slice) -> "ImageBatch[Item]":
        """Return some of the rows as a batch of their own."""
        pixels = self.pixels
        if pixels is not None:
            before = sum(self._is_readable[: rows.start])
            num = sum(self._is_readable[rows])
            pixels = pixels[before : before + num] if num else None
        return ImageBatch(self.items[rows], self.errors[rows], pixels)

    def to(self, device: Any) -> "ImageBatch[Item]":
        """Return the batch with its pixels on a device; Lightning calls this."""
        if self.pixels is None:
            return self
        if not isinstance(self.pixels, list):
            return replace(self, pixels=self.pixels.to(device, non_blocking=True))
        rows = [
            {name: tensor.to(device, non_blocking=True) for name, tensor in row.items()}
            for row in self.pixels
        ]
        return replace(self, pixels=rows)

    @property
    def _is_readable(self) -> list[bool]:
        return [error is None for error in self.errors]


def reader(
    image_of: Callable[[Item], HasPath], prepare: Callable[[list["Image"]], "Prepared"]
) -> Callable[[Sequence[Item]], ImageBatch[Item]]:
    """Return a function that reads the images of items and prepares them for a model."""

    def read(items: Sequence[Item]) -> ImageBatch[Item]:
        images: list[Image] = []
        errors: list[str | None] = []
        for item in items:
            try:
                image = image_of(item)
                images.append(read_rgb(image.path, None, file_sha256(image)))
                errors.append(None)
            except ValueError as error:
                errors.append(str(error))
        return ImageBatch(items, errors, prepare(images) if images else None)

    return read
