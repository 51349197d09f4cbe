"""CutMix (Yun et al., ICCV 2019, arXiv 1905.04899)."""

from typing import Any

from sip.augmentation.mix.images import ImageMix, cutmix
from sip.core.component import component
from sip.core.ranges import Positive, Share


@component
class CutMix(ImageMix):
    """A rectangle of every image is replaced by its neighbour's, the targets in proportion.

    Args:
        alpha: Both parameters of the beta distribution of the share that stays.
        prob: Probability that a batch is mixed.
    """

    alpha: Positive
    prob: Share

    def transform(self) -> Any:
        """Return torchvision's CutMix."""
        return cutmix(self.alpha)
