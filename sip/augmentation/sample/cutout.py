"""Cutout (DeVries and Taylor, 2017, arXiv 1708.04552), by torchvision's `erase` (BSD).

The square's centre is anywhere in the picture, so that a part of it may lie outside; torchvision's
own random erasing keeps it inside. The authors fill with the data set's mean; here with one grey
level, as in the other arms.
"""

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from sip.core.component import Component, component


@component
class Cutout(Component):
    """A square at a random place is filled.

    Args:
        side: Of the square, in parts of the picture's shorter side, in (0, 1].
        fill: Grey level, in [0, 255].
    """

    side: float
    fill: int

    def __call__(self, picture: Tensor) -> Tensor:
        """Return a changed picture: (3, H, W), uint8."""
        height, width = picture.shape[-2:]
        half = round(self.side * min(height, width)) // 2
        row, column = int(torch.randint(height, ())), int(torch.randint(width, ()))
        top, left = max(row - half, 0), max(column - half, 0)
        bottom, right = min(row + half, height), min(column + half, width)
        value = torch.tensor(self.fill, dtype=picture.dtype)
        return F.erase(picture, top, left, bottom - top, right - left, value)
