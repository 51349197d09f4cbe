"""mixup (Zhang et al., ICLR 2018, arXiv 1710.09412), by torchvision (BSD).

timm's `Mixup` does the same but takes even batches alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor
from torchvision.transforms import v2

from sip.augmentation.base import Mix
from sip.augmentation.mix.chance import happens


@dataclass(frozen=True)
class MixUp(Mix):
    """Every picture is averaged with its neighbour, and the targets in proportion.

    Args:
        alpha: Both parameters of the beta distribution of the picture's share; > 0.
        prob: Probability that a batch is mixed, in [0, 1].
    """

    alpha: float
    prob: float

    @cached_property
    def transform(self) -> v2.Transform:
        """The transform of torchvision."""
        return v2.MixUp(alpha=self.alpha)

    def __call__(
        self, model: Callable[[Tensor], Tensor], pictures: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the logits of the mixed pictures, and the mixed targets."""
        if happens(self.prob):
            pictures, targets = self.transform(pictures, targets)
        return model(pictures), targets
