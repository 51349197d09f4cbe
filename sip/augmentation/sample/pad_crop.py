"""A random window of the padded image, mirrored or not: the usual recipe of CIFAR.

Source: He et al., CVPR 2016 (arXiv 1512.03385), section 4.2: 4 px of zeros on each side, a random
crop of the old size, and a mirror image. By torchvision (BSD).
"""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sip.augmentation.sample.base import SampleTransform
from sip.core.component import component
from sip.core.ranges import Share

if TYPE_CHECKING:
    from torch import Tensor


@component
class PadCrop(SampleTransform):
    """A shift by up to `padding` px, black outside of the image, and a mirror image.

    Args:
        padding: px of black on each side.
        flip_prob: Probability that left and right are swapped; 0 for digits.
    """

    padding: Annotated[int, Field(ge=0)]
    flip_prob: Share

    def __call__(self, image: "Tensor") -> "Tensor":
        """Return a changed image: (3, H, W), uint8."""
        import torch
        from torchvision.transforms.v2 import functional as F

        height, width = image.shape[-2:]
        top, left = torch.randint(2 * self.padding + 1, (2,)).tolist()
        image = F.crop(F.pad(image, [self.padding]), top, left, height, width)
        return F.horizontal_flip(image) if torch.rand(()) < self.flip_prob else image
