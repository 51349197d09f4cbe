"""mixup or CutMix, batch by batch, by torchvision (BSD): the way of timm's and DeiT's recipes.

(Touvron et al., ICML 2021, arXiv 2012.12877, table 9.) timm's own `Mixup` takes even batches only.
"""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sip.augmentation.base import Mix
from sip.augmentation.mix.chance import happens
from sip.core.component import component
from sip.core.ranges import Positive, Share

if TYPE_CHECKING:
    from torch import Tensor


@component
class MixUpCutMix(Mix):
    """A batch is mixed by one of the two.

    Args:
        mixup_alpha: Of mixup, as in `mixup`.
        cutmix_alpha: Of CutMix, as in `cutmix`.
        prob: Probability that a batch is mixed at all.
        switch_prob: Probability that a mixed batch is mixed by CutMix.
    """

    mixup_alpha: Positive
    cutmix_alpha: Positive
    prob: Share
    switch_prob: Share

    @cached_property
    def transforms(self) -> tuple[Any, Any]:
        """The two transforms of torchvision: mixup and CutMix."""
        from torchvision.transforms import v2

        return v2.MixUp(alpha=self.mixup_alpha), v2.CutMix(alpha=self.cutmix_alpha)

    def __call__(
        self, model: "Callable[[Tensor], Tensor]", images: "Tensor", targets: "Tensor"
    ) -> "tuple[Tensor, Tensor]":
        """Return the logits of the mixed images, and the mixed targets."""
        import torch

        if happens(self.prob):
            mixup, cutmix = self.transforms
            transform = cutmix if torch.rand(()) < self.switch_prob else mixup
            images, targets = transform(images, targets)
        return model(images), targets
