"""GridMask (Chen et al., 2020, arXiv 2001.04086, section 3): squares on a turned grid are filled.

Ours after the paper and its code (github.com/dvlab-research/GridMask, imagenet_grid, mode 1), since
no library has it. Three changes: the period is in parts of the side and not in px, so that it means
the same at any size; the probability is constant, where the authors raise it from 0 to its value
over the first 240 of 300 epochs; and pixels are turned instead of a mask, which is faster.
"""

import math

import torch
from torch import Tensor

from sip.core.component import Component, component


@component
class GridMask(Component):
    """Squares on a grid with a random period, shift and turn are filled.

    Args:
        prob: Probability that a picture is changed, in [0, 1].
        min_period: Least distance of two squares' left borders, in parts of the shorter side.
        max_period: As `min_period`, the greatest.
        ratio: Of the period that is kept between two squares, r in [0, 1]: the squares' side is
            (1 - r) periods, and r (2 - r) of the area is kept.
        max_angle: Turns are in [0, max_angle), whole degrees.
        fill: Grey level, in [0, 255].
    """

    prob: float
    min_period: float
    max_period: float
    ratio: float
    max_angle: int
    fill: int

    def __call__(self, picture: Tensor) -> Tensor:
        """Return a changed picture: (3, H, W), uint8."""
        if torch.rand(()) >= self.prob:
            return picture
        return picture.masked_fill(self.mask(*picture.shape[-2:]), self.fill)

    def mask(self, height: int, width: int) -> Tensor:
        """Return what is filled: (height, width), bool, with random numbers of its own."""
        side = min(height, width)
        least = max(2, round(self.min_period * side))
        most = max(least + 1, round(self.max_period * side))
        period = int(torch.randint(least, most, ()))
        kept = int(period * self.ratio + 0.5)
        shift = torch.randint(period, (2,))
        angle = int(torch.randint(self.max_angle, ()))
        radians = math.radians(angle)
        # Each pixel's centre, turned about the picture's centre, in a plane full of squares.
        y = torch.arange(height)[:, None] + 0.5 - height / 2
        x = torch.arange(width)[None, :] + 0.5 - width / 2
        down = math.sin(radians) * x + math.cos(radians) * y + int(shift[0])
        right = math.cos(radians) * x - math.sin(radians) * y + int(shift[1])
        return (down % period >= kept) & (right % period >= kept)
