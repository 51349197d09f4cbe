"""mixup (Zhang et al., ICLR 2018, arXiv 1710.09412), by torchvision (BSD).

timm's `Mixup` does the same but takes even batches only.
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
class MixUp(Mix):
    """Every image is averaged with its neighbour, and the targets in proportion.

    Args:
        alpha: Both parameters of the beta distribution of the image's share.
        prob: Probability that a batch is mixed.
    """

    alpha: Positive
    prob: Share

    @cached_property
    def transform(self) -> Any:
        """The transform of torchvision."""
        from torchvision.transforms import v2

        return v2.MixUp(alpha=self.alpha)

    def __call__(
        self, model: "Callable[[Tensor], Tensor]", images: "Tensor", targets: "Tensor"
    ) -> "tuple[Tensor, Tensor]":
        """Return the logits of the mixed images, and the mixed targets."""
        if happens(self.prob):
            images, targets = self.transform(images, targets)
        return model(images), targets
