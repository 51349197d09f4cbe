"""mixup or CutMix, batch by batch: the way of timm's and DeiT's recipes.

(Touvron et al., ICML 2021, arXiv 2012.12877, table 9.)
"""

from typing import Any

from sip.augmentation.mix.images import ImageMix, cutmix, mixup
from sip.core.component import component
from sip.core.ranges import Positive, Share


@component
class MixUpCutMix(ImageMix):
    """A batch is mixed by one of the two.

    Args:
        mixup_alpha: Alpha of mixup, as in `mixup`.
        cutmix_alpha: Alpha of CutMix, as in `cutmix`.
        prob: Probability that a batch is mixed at all.
        switch_prob: Probability that a mixed batch is mixed by CutMix.
    """

    mixup_alpha: Positive
    cutmix_alpha: Positive
    prob: Share
    switch_prob: Share

    def transform(self) -> Any:
        """Return one of torchvision's two transforms, at random."""
        import torch

        if torch.rand(()) < self.switch_prob:
            return cutmix(self.cutmix_alpha)
        return mixup(self.mixup_alpha)
