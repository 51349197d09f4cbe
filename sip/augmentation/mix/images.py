"""What mixes images before they go into the network, by torchvision (BSD).

timm's `Mixup` does the same but takes even batches only.
"""

from abc import abstractmethod
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from sip.augmentation.base import Mix

if TYPE_CHECKING:
    from torch import Tensor


class ImageMix(Mix):
    """A transform of torchvision, applied to a share of the batches.

    Attributes:
        prob: Probability that a batch is mixed; a field of the subclasses.
    """

    prob: float

    @abstractmethod
    def transform(self) -> Any:
        """Return the transform for a batch that is mixed."""

    def __call__(
        self, model: "Callable[[Tensor], Tensor]", images: "Tensor", targets: "Tensor"
    ) -> "tuple[Tensor, Tensor]":
        """Return the logits of the mixed images, and the mixed targets."""
        if happens(self.prob):
            images, targets = self.transform()(images, targets)
        return model(images), targets


@cache
def mixup(alpha: float) -> Any:
    """Return torchvision's mixup."""
    from torchvision.transforms import v2

    return v2.MixUp(alpha=alpha)


@cache
def cutmix(alpha: float) -> Any:
    """Return torchvision's CutMix."""
    from torchvision.transforms import v2

    return v2.CutMix(alpha=alpha)


def happens(prob: float) -> bool:
    """Return True with a probability; certainty takes no random number."""
    import torch

    return prob >= 1 or bool(torch.rand(()) < prob)
