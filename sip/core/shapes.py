"""The sizes of images that keep their aspect ratio, in buckets of like shape.

Source: aspect ratio bucketing (NovelAI, "Improvements on Stable Diffusion", 2022), as in SDXL
(Podell et al., 2023, section 2.2). Unlike there, an original is not cut to its bucket but scaled to
it, and back afterwards: all of it is seen, and what is at one place stays there.
"""

from collections.abc import Sequence
from math import ceil, log, sqrt
from typing import NamedTuple, Self

from PIL import Image, ImageOps

MOST_RATIO = 2  # of the longer side to the shorter one; of longer images the central part is used


class Size(NamedTuple):
    """Width and height, in px."""

    width: int
    height: int

    @classmethod
    def of(cls, size: "int | Size") -> Self:
        """Return the size of an image that is scaled to `size`, as of `scaled`."""
        return cls(size, size) if isinstance(size, int) else cls(*size)

    @property
    def area(self) -> int:
        """Pixels."""
        return self.width * self.height

    @property
    def ratio(self) -> float:
        """Width by height."""
        return self.width / self.height

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.width} x {self.height} px"


def used_part(size: Size) -> Size:
    """Return the size of the central part of an image that is not longer than `MOST_RATIO`."""
    width, height = size
    return Size(min(width, MOST_RATIO * height), min(height, MOST_RATIO * width))


def nearest(original: Size, sizes: Sequence[Size]) -> Size:
    """Return the bucket whose shape is nearest to an original's; of equals the largest."""
    ratio = used_part(original).ratio
    return min(sizes, key=lambda size: (abs(log(size.ratio / ratio)), -size.area))


def buckets(side: int, step: int) -> list[Size]:
    """Return the sizes that images are generated at.

    Args:
        side: Side of the square that has the most pixels that a bucket may have, in px.
        step: Sides are multiples of it, in px.
    """
    pairs = [(one, side**2 // one // step * step) for one in range(step, 2 * side, step)]
    pairs = [pair for pair in pairs if min(pair)]
    sizes = {Size(*pair) for pair in pairs} | {Size(*pair[::-1]) for pair in pairs}
    longest = nearest(Size(MOST_RATIO, 1), list(sizes)).ratio
    return sorted(size for size in sizes if 1 / longest <= size.ratio <= longest)


def own_size(original: Size, area: int) -> Size:
    """Return the size of an original's used part, scaled down to `area` px if it is larger."""
    used = used_part(original)
    scale = min(1.0, sqrt(area / used.area))
    return Size(*(max(1, round(side * scale)) for side in used))


def default_step(side: int, unit: int, least: int) -> int:
    """Return the step of the buckets: about a sixteenth of the side, as in SDXL.

    Args:
        side: Side of the square of the same area, in px.
        unit: Sides are multiples of it where that leaves enough buckets.
        least: Sides must be multiples of it.
    """
    unit = unit if 8 * unit <= side else least
    return unit * ceil(side / 16 / unit)


def scaled(image: Image.Image, size: int | Size, method: Image.Resampling) -> Image.Image:
    """Return an image, cut and scaled.

    Args:
        image: Upright.
        size: In px: the largest central square is scaled to size x size. Of a width and a height,
            all of the image is, or its `used_part`.
        method: Resampling.
    """
    if isinstance(size, int):
        if image.size == (size, size):
            return image
        # `fit` scales only the square that stays: a 1 x 10,000 px image costs no memory.
        return ImageOps.fit(image, (size, size), method)
    used = used_part(Size(*image.size))
    left, top = (image.width - used.width) / 2, (image.height - used.height) / 2
    return image.resize(size, method, (left, top, left + used.width, top + used.height))
