"""GridMask (Chen et al., 2020, arXiv 2001.04086, section 3): squares on a turned grid are filled.

Ours after the paper and its code (github.com/dvlab-research/GridMask, imagenet_grid, mode 1), since
no library has it. Three changes: the period is a share of the side and not in px, and so means the
same at any size; the probability is constant, while the authors raise it from 0 to its value
over the first 240 of 300 epochs; and pixels are turned instead of a mask, which is faster.
"""

import math
from typing import TYPE_CHECKING

from sip.augmentation.sample.base import SampleTransform
from sip.augmentation.sample.values import Grey
from sip.core.component import component, refuse
from sip.core.ranges import Count, Rate, Share

if TYPE_CHECKING:
    from torch import Tensor


@component
class GridMask(SampleTransform):
    """Squares on a grid with a random period, shift and turn are filled.

    Args:
        prob: Probability that an image is changed.
        min_period, max_period: Distance of the left borders of two squares, as a share of the
            shorter side.
        ratio: Share r of the period that is kept between two squares: the side of a square is
            (1 - r) periods, and r (2 - r) of the area is kept.
        max_angle: Turns are in [0, max_angle), whole degrees.
        fill: Grey level.
    """

    prob: Share
    min_period: Rate
    max_period: Rate
    ratio: Share
    max_angle: Count
    fill: Grey

    def __post_init__(self) -> None:
        if self.min_period > self.max_period:
            raise refuse("min_period", f"at most max_period ({self.max_period:g})", self.min_period)

    def __call__(self, image: "Tensor") -> "Tensor":
        """Return a changed image: (3, H, W), uint8."""
        import torch

        if torch.rand(()) >= self.prob:
            return image
        return image.masked_fill(self.mask(*image.shape[-2:]), self.fill)

    def mask(self, height: int, width: int) -> "Tensor":
        """Return what is filled: (height, width), bool, from random numbers."""
        import torch

        side = min(height, width)
        least = max(2, round(self.min_period * side))
        most = max(least + 1, round(self.max_period * side))
        period = int(torch.randint(least, most, ()))
        kept = int(period * self.ratio + 0.5)
        shift = torch.randint(period, (2,))
        angle = int(torch.randint(self.max_angle, ()))
        radians = math.radians(angle)
        # Each pixel's centre, turned about the image's centre, in a plane full of squares.
        y = torch.arange(height)[:, None] + 0.5 - height / 2
        x = torch.arange(width)[None, :] + 0.5 - width / 2
        down = math.sin(radians) * x + math.cos(radians) * y + int(shift[0])
        right = math.cos(radians) * x - math.sin(radians) * y + int(shift[1])
        return (down % period >= kept) & (right % period >= kept)
