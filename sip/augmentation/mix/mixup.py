"""mixup (Zhang et al., ICLR 2018, arXiv 1710.09412)."""

from typing import Any

from sip.augmentation.mix.images import ImageMix, mixup
from sip.core.component import component
from sip.core.ranges import Positive, Share


@component
class MixUp(ImageMix):
    """Every image is averaged with its neighbour, and the targets in proportion.

    Args:
        alpha: Both parameters of the beta distribution of the image's share.
        prob: Probability that a batch is mixed.
    """

    alpha: Positive
    prob: Share

    def transform(self) -> Any:
        """Return torchvision's mixup."""
        return mixup(self.alpha)
