"""AugMix (Hendrycks et al., ICLR 2020, arXiv 1912.02781), by torchvision (BSD).

The pictures alone: the paper's consistency loss between three views of a picture, which costs three
forward passes a step, is left out, so that all arms keep one loss and one cost.
"""

from functools import cached_property

from torch import Tensor
from torchvision.transforms import v2

from sip.core.component import Component, component


@component
class AugMix(Component):
    """A picture mixed with several chains of operations on it.

    Args:
        severity: Highest magnitude of the operations, in [1, 10].
        mixture_width: Chains.
        chain_depth: Operations in a chain; -1 for a random number of 1 to 3.
        alpha: Of the Dirichlet and the beta distribution of the weights; > 0.
        all_ops: Also brightness, contrast, colour and sharpness.
        fill: Grey level, in [0, 255], of what a shift or a turn lays bare.
    """

    severity: int
    mixture_width: int
    chain_depth: int
    alpha: float
    all_ops: bool
    fill: int

    @cached_property
    def transform(self) -> v2.Transform:
        """The transform of torchvision."""
        return v2.AugMix(
            severity=self.severity,
            mixture_width=self.mixture_width,
            chain_depth=self.chain_depth,
            alpha=self.alpha,
            all_ops=self.all_ops,
            fill=[self.fill] * 3,
        )

    def __call__(self, picture: Tensor) -> Tensor:
        """Return a changed picture: (3, H, W), uint8."""
        return self.transform(picture)
