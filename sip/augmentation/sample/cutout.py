"""Cutout (DeVries and Taylor, 2017, arXiv 1708.04552), by torchvision's `erase` (BSD).

The centre of the square is anywhere in the image, so part of it may lie outside;
torchvision's own random erasing keeps it inside. The authors fill with the data set's mean; here
with one grey level, as in the other arms.
"""

from typing import TYPE_CHECKING

from sip.augmentation.sample.base import SampleTransform
from sip.augmentation.sample.values import Grey
from sip.core.component import component
from sip.core.ranges import Rate

if TYPE_CHECKING:
    from torch import Tensor


@component
class Cutout(SampleTransform):
    """A square at a random place is filled.

    Args:
        side: Side of the square, as a share of the shorter side of the image.
        fill: Grey level.
    """

    side: Rate
    fill: Grey

    def __call__(self, image: "Tensor") -> "Tensor":
        """Return a changed image: (3, H, W), uint8."""
        import torch
        from torchvision.transforms.v2 import functional as F

        height, width = image.shape[-2:]
        half = round(self.side * min(height, width)) // 2
        row, column = int(torch.randint(height, ())), int(torch.randint(width, ()))
        top, left = max(row - half, 0), max(column - half, 0)
        bottom, right = min(row + half, height), min(column + half, width)
        value = torch.tensor(self.fill, dtype=image.dtype)
        return F.erase(image, top, left, bottom - top, right - left, value)
