"""Colour jitter, by torchvision (BSD): brightness, contrast, saturation and hue in random order."""

from torch import Tensor
from torchvision.transforms import v2


class ColorJitter:
    """Random brightness, contrast, saturation and hue.

    Args:
        brightness: b >= 0: a factor in [max(0, 1 - b), 1 + b].
        contrast: As brightness.
        saturation: As brightness.
        hue: h in [0, 0.5]: a turn in [-h, h] of the colour circle.
    """

    def __init__(self, brightness: float, contrast: float, saturation: float, hue: float) -> None:
        self.values = {
            "brightness": brightness,
            "contrast": contrast,
            "saturation": saturation,
            "hue": hue,
        }
        self.transform = v2.ColorJitter(**self.values)

    def recipe(self) -> dict:
        """Return everything that decides what is done."""
        return {
            "class": "sip.augmentation.sample.color_jitter.ColorJitter",
            "version": 1,
            **self.values,
        }

    def __call__(self, picture: Tensor) -> Tensor:
        """Return a changed picture: (3, H, W), uint8."""
        return self.transform(picture)
