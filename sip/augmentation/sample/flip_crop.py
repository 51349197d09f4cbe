"""A random part of the picture, resized, and mirrored or not, by torchvision (BSD).

What most training recipes begin with (Szegedy et al., CVPR 2015, arXiv 1409.4842, section 6).
Mirroring is for pictures whose class survives it: objects, not digits or letters.
"""

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F


class FlipCrop:
    """A random crop at the picture's own size, and a mirror image.

    Args:
        flip_prob: Probability that left and right are swapped, in [0, 1]; 0 for digits.
        min_scale: Least area of the crop, in parts of the picture, in (0, 1].
        max_scale: As `min_scale`, the greatest.
        min_aspect: Least width by height of the crop, > 0.
        max_aspect: As `min_aspect`, the greatest.
    """

    def __init__(
        self,
        flip_prob: float,
        min_scale: float,
        max_scale: float,
        min_aspect: float,
        max_aspect: float,
    ) -> None:
        self.values = {
            "flip_prob": flip_prob,
            "min_scale": min_scale,
            "max_scale": max_scale,
            "min_aspect": min_aspect,
            "max_aspect": max_aspect,
        }
        self.flip_prob = flip_prob
        # Its size is not used: each picture keeps its own.
        self.crop = v2.RandomResizedCrop(1, (min_scale, max_scale), (min_aspect, max_aspect))

    def recipe(self) -> dict:
        """Return everything that decides what is done."""
        return {
            "class": "sip.augmentation.sample.flip_crop.FlipCrop",
            "version": 1,
            **self.values,
        }

    def __call__(self, picture: Tensor) -> Tensor:
        """Return a changed picture: (3, H, W), uint8."""
        box = self.crop.make_params([picture])
        size = list(picture.shape[-2:])
        picture = F.resized_crop(picture, **box, size=size, antialias=True)  # bilinear
        if torch.rand(()) < self.flip_prob:
            picture = F.horizontal_flip(picture)
        return picture
