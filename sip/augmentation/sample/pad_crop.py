"""A random window of the padded picture, mirrored or not: the usual recipe of CIFAR.

Source: He et al., CVPR 2016 (arXiv 1512.03385), section 4.2: 4 px of zeros on each side, a random
crop of the old size, and a mirror image. By torchvision (BSD).
"""

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from sip.core.component import Component, component


@component
class PadCrop(Component):
    """A shift by up to `padding` px, black where nothing was, and a mirror image.

    Args:
        padding: px of black on each side, >= 0.
        flip_prob: Probability that left and right are swapped, in [0, 1]; 0 for digits.
    """

    padding: int
    flip_prob: float

    def __call__(self, picture: Tensor) -> Tensor:
        """Return a changed picture: (3, H, W), uint8."""
        height, width = picture.shape[-2:]
        top, left = torch.randint(2 * self.padding + 1, (2,)).tolist()
        picture = F.crop(F.pad(picture, [self.padding]), top, left, height, width)
        if torch.rand(()) < self.flip_prob:
            picture = F.horizontal_flip(picture)
        return picture
