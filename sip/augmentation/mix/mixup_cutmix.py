"""mixup or CutMix, batch by batch, by torchvision (BSD): the way of timm's and DeiT's recipes.

(Touvron et al., ICML 2021, arXiv 2012.12877, table 9.) timm's own `Mixup` takes even batches alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torchvision.transforms import v2

from sip.augmentation.base import Mix
from sip.augmentation.mix.chance import happens


@dataclass(frozen=True)
class MixUpCutMix(Mix):
    """A batch is mixed by one of the two.

    Args:
        mixup_alpha: Of mixup, as in `mixup`.
        cutmix_alpha: Of CutMix, as in `cutmix`.
        prob: Probability that a batch is mixed at all, in [0, 1].
        switch_prob: Probability that it is by CutMix then, in [0, 1].
    """

    mixup_alpha: float
    cutmix_alpha: float
    prob: float
    switch_prob: float

    @cached_property
    def transforms(self) -> tuple[v2.Transform, v2.Transform]:
        """The two of torchvision: mixup and CutMix."""
        return v2.MixUp(alpha=self.mixup_alpha), v2.CutMix(alpha=self.cutmix_alpha)

    def __call__(
        self, model: Callable[[Tensor], Tensor], pictures: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the logits of the mixed pictures, and the mixed targets."""
        if happens(self.prob):
            mixup, cutmix = self.transforms
            transform = cutmix if torch.rand(()) < self.switch_prob else mixup
            pictures, targets = transform(pictures, targets)
        return model(pictures), targets
