"""CutMix (Yun et al., ICCV 2019, arXiv 1905.04899), by torchvision (BSD).

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
class CutMix(Mix):
    """A rectangle of every picture is replaced by its neighbour's, the targets in proportion.

    Args:
        alpha: Both parameters of the beta distribution of the share that stays; > 0.
        prob: Probability that a batch is mixed, in [0, 1].
    """

    alpha: float
    prob: float

    @cached_property
    def transform(self) -> v2.Transform:
        """The transform of torchvision."""
        return v2.CutMix(alpha=self.alpha)

    def __call__(
        self, model: Callable[[Tensor], Tensor], pictures: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the logits of the mixed pictures, and the mixed targets."""
        if happens(self.prob):
            pictures, targets = self.transform(pictures, targets)
        return model(pictures), targets
