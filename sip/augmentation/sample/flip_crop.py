"""Random crop, resized, and random mirroring, by torchvision (BSD).

What most training recipes begin with (Szegedy et al., CVPR 2015, arXiv 1409.4842, section 6).
Mirroring is for images whose class survives it: objects, not digits or letters.
"""

from functools import cached_property
from typing import TYPE_CHECKING, Any

from sip.augmentation.sample.base import SampleTransform
from sip.core.component import component, refuse
from sip.core.ranges import Positive, Rate, Share

if TYPE_CHECKING:
    from torch import Tensor


@component
class FlipCrop(SampleTransform):
    """A random crop, resized to the image's own size, and a mirror image.

    Args:
        flip_prob: Probability that left and right are swapped; 0 for digits.
        min_scale, max_scale: Area of the crop, as a share of the image.
        min_aspect, max_aspect: Width by height of the crop.
    """

    flip_prob: Share
    min_scale: Rate
    max_scale: Rate
    min_aspect: Positive
    max_aspect: Positive

    def __post_init__(self) -> None:
        if self.min_scale > self.max_scale:
            raise refuse("min_scale", f"at most max_scale ({self.max_scale:g})", self.min_scale)
        if self.min_aspect > self.max_aspect:
            raise refuse("min_aspect", f"at most max_aspect ({self.max_aspect:g})", self.min_aspect)

    @cached_property
    def crop(self) -> Any:
        """Chooses the box; its own size is not used, since each image keeps its own."""
        from torchvision.transforms.v2 import RandomResizedCrop

        scale, ratio = (self.min_scale, self.max_scale), (self.min_aspect, self.max_aspect)
        return RandomResizedCrop(1, scale, ratio)

    def __call__(self, image: "Tensor") -> "Tensor":
        """Return a changed image: (3, H, W), uint8."""
        import torch
        from torchvision.transforms.v2 import functional as F

        box = self.crop.make_params([image])
        size = list(image.shape[-2:])
        image = F.resized_crop(image, **box, size=size, antialias=True)  # bilinear
        return F.horizontal_flip(image) if torch.rand(()) < self.flip_prob else image
