"""Colour jitter, by torchvision (BSD): brightness, contrast, saturation and hue in random order."""

from functools import cached_property

from torch import Tensor
from torchvision.transforms import v2

from sip.core.component import Component, component


@component
class ColorJitter(Component):
    """Random brightness, contrast, saturation and hue.

    Args:
        brightness: b >= 0: a factor in [max(0, 1 - b), 1 + b].
        contrast: As brightness.
        saturation: As brightness.
        hue: h in [0, 0.5]: a turn in [-h, h] of the colour circle.
    """

    brightness: float
    contrast: float
    saturation: float
    hue: float

    @cached_property
    def transform(self) -> v2.Transform:
        """The transform of torchvision."""
        return v2.ColorJitter(self.brightness, self.contrast, self.saturation, self.hue)

    def __call__(self, picture: Tensor) -> Tensor:
        """Return a changed picture: (3, H, W), uint8."""
        return self.transform(picture)
