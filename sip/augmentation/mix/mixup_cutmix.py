"""mixup or CutMix, batch by batch, by torchvision (BSD): the way of timm's and DeiT's recipes.

(Touvron et al., ICML 2021, arXiv 2012.12877, table 9.) timm's own `Mixup` takes even batches alone.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import v2

from sip.augmentation.base import Mix
from sip.augmentation.mix.chance import happens


class MixUpCutMix(Mix):
    """A batch is mixed by one of the two.

    Args:
        mixup_alpha: Of mixup, as in `mixup`.
        cutmix_alpha: Of CutMix, as in `cutmix`.
        prob: Probability that a batch is mixed at all, in [0, 1].
        switch_prob: Probability that it is by CutMix then, in [0, 1].
    """

    def __init__(
        self, mixup_alpha: float, cutmix_alpha: float, prob: float, switch_prob: float
    ) -> None:
        self.values = {
            "mixup_alpha": mixup_alpha,
            "cutmix_alpha": cutmix_alpha,
            "prob": prob,
            "switch_prob": switch_prob,
        }
        self.prob, self.switch_prob = prob, switch_prob
        self.mixup, self.cutmix = v2.MixUp(alpha=mixup_alpha), v2.CutMix(alpha=cutmix_alpha)

    def recipe(self) -> dict:
        """Return everything that decides what is done."""
        return {
            "class": "sip.augmentation.mix.mixup_cutmix.MixUpCutMix",
            "version": 1,
            **self.values,
        }

    def __call__(
        self, model: Callable[[Tensor], Tensor], pictures: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the logits of the mixed pictures, and the mixed targets."""
        if happens(self.prob):
            transform = self.cutmix if torch.rand(()) < self.switch_prob else self.mixup
            pictures, targets = transform(pictures, targets)
        return model(pictures), targets
