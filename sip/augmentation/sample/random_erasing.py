"""Random erasing (Zhong et al., AAAI 2020, arXiv 1708.04896), by torchvision (BSD).

The paper fills with noise or the mean colour; here one grey level, as in the other arms. timm's
`RandomErasing` draws from Python's own random numbers, which no seed of a picture governs.
"""

from functools import cached_property

from torch import Tensor
from torchvision.transforms import v2

from sip.core.component import Component, component


@component
class RandomErasing(Component):
    """A random rectangle, inside of the picture, is filled.

    Args:
        prob: Probability that a picture is changed, in [0, 1].
        min_area, max_area: Of the rectangle, in parts of the picture, in [0, 1].
        min_aspect, max_aspect: Of its height by its width, > 0.
        fill: Grey level, in [0, 255].
    """

    prob: float
    min_area: float
    max_area: float
    min_aspect: float
    max_aspect: float
    fill: int

    @cached_property
    def transform(self) -> v2.Transform:
        """The transform of torchvision."""
        return v2.RandomErasing(
            p=self.prob,
            scale=(self.min_area, self.max_area),
            ratio=(self.min_aspect, self.max_aspect),
            value=self.fill,
        )

    def __call__(self, picture: Tensor) -> Tensor:
        """Return a changed picture: (3, H, W), uint8."""
        return self.transform(picture)
