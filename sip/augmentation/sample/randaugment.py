"""RandAugment (Cubuk et al., CVPR Workshops 2020, arXiv 1909.13719), by torchvision (BSD).

torchvision counts magnitudes in 31 bins, as the authors' code counts in 30 levels; posterising
is included, flips and cropping are not part of it.
"""

from functools import cached_property

from torch import Tensor
from torchvision.transforms import v2

from sip.core.component import Component, component


@component
class RandAugment(Component):
    """A few random operations of one magnitude.

    Args:
        num_ops: Operations a picture.
        magnitude: Of all operations, in [0, 30].
        fill: Grey level, in [0, 255], of what a shift or a turn lays bare.
    """

    num_ops: int
    magnitude: int
    fill: int

    @cached_property
    def transform(self) -> v2.Transform:
        """The transform of torchvision."""
        return v2.RandAugment(self.num_ops, self.magnitude, fill=[self.fill] * 3)

    def __call__(self, picture: Tensor) -> Tensor:
        """Return a changed picture: (3, H, W), uint8."""
        return self.transform(picture)
