"""TrivialAugment (Müller and Hutter, ICCV 2021, arXiv 2103.10158), the wide kind, by torchvision.

One operation of a random magnitude a picture. Flips and cropping are not part of it.
"""

from functools import cached_property

from torch import Tensor
from torchvision.transforms import v2

from sip.core.component import Component, component


@component
class TrivialAugment(Component):
    """One random operation of a random magnitude.

    Args:
        num_magnitude_bins: Magnitudes to choose from.
        fill: Grey level, in [0, 255], of what a shift or a turn lays bare.
    """

    num_magnitude_bins: int
    fill: int

    @cached_property
    def transform(self) -> v2.Transform:
        """The transform of torchvision."""
        return v2.TrivialAugmentWide(self.num_magnitude_bins, fill=[self.fill] * 3)

    def __call__(self, picture: Tensor) -> Tensor:
        """Return a changed picture: (3, H, W), uint8."""
        return self.transform(picture)
