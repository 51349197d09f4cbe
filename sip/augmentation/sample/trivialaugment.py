"""TrivialAugment (Müller and Hutter, ICCV 2021, arXiv 2103.10158), the wide kind, by torchvision.

One operation of a random magnitude a picture. Flips and cropping are not part of it.
"""

from torch import Tensor
from torchvision.transforms import v2


class TrivialAugment:
    """One random operation of a random magnitude.

    Args:
        num_magnitude_bins: Magnitudes to choose from.
        fill: Grey level, in [0, 255], of what a shift or a turn lays bare.
    """

    def __init__(self, num_magnitude_bins: int, fill: int) -> None:
        self.num_magnitude_bins, self.fill = num_magnitude_bins, fill
        self.transform = v2.TrivialAugmentWide(
            num_magnitude_bins=num_magnitude_bins, fill=[fill] * 3
        )

    def recipe(self) -> dict:
        """Return everything that decides what is done."""
        return {
            "class": "sip.augmentation.sample.trivialaugment.TrivialAugment",
            "version": 1,
            "num_magnitude_bins": self.num_magnitude_bins,
            "fill": self.fill,
        }

    def __call__(self, picture: Tensor) -> Tensor:
        """Return a changed picture: (3, H, W), uint8."""
        return self.transform(picture)
