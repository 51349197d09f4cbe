"""A random part of the picture, resized, and mirrored or not, by torchvision (BSD).

What most training recipes begin with (Szegedy et al., CVPR 2015, arXiv 1409.4842, section 6).
Mirroring is for pictures whose class survives it: objects, not digits or letters.
"""

from functools import cached_property

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from sip.core.component import Component, component


@component
class FlipCrop(Component):
    """A random crop at the picture's own size, and a mirror image.

    Args:
        flip_prob: Probability that left and right are swapped, in [0, 1]; 0 for digits.
        min_scale: Least area of the crop, in parts of the picture, in (0, 1].
        max_scale: As `min_scale`, the greatest.
        min_aspect: Least width by height of the crop, > 0.
        max_aspect: As `min_aspect`, the greatest.
    """

    flip_prob: float
    min_scale: float
    max_scale: float
    min_aspect: float
    max_aspect: float

    @cached_property
    def crop(self) -> v2.RandomResizedCrop:
        """Chooses the box; its own size is not used, since each picture keeps its own."""
        scale, ratio = (self.min_scale, self.max_scale), (self.min_aspect, self.max_aspect)
        return v2.RandomResizedCrop(1, scale, ratio)

    def __call__(self, picture: Tensor) -> Tensor:
        """Return a changed picture: (3, H, W), uint8."""
        box = self.crop.make_params([picture])
        size = list(picture.shape[-2:])
        picture = F.resized_crop(picture, **box, size=size, antialias=True)  # bilinear
        if torch.rand(()) < self.flip_prob:
            picture = F.horizontal_flip(picture)
        return picture
