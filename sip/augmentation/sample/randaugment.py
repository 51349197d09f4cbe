"""RandAugment (Cubuk et al., CVPR Workshops 2020, arXiv 1909.13719), by torchvision (BSD).

torchvision counts magnitudes in 31 bins, as the authors' code counts in 30 levels; posterising
is included, flips and cropping are not part of it.
"""

from torch import Tensor
from torchvision.transforms import v2


class RandAugment:
    """A few random operations of one magnitude.

    Args:
        num_ops: Operations a picture.
        magnitude: Of all operations, in [0, 30].
        fill: Grey level, in [0, 255], of what a shift or a turn lays bare.
    """

    def __init__(self, num_ops: int, magnitude: int, fill: int) -> None:
        self.num_ops, self.magnitude, self.fill = num_ops, magnitude, fill
        self.transform = v2.RandAugment(num_ops=num_ops, magnitude=magnitude, fill=[fill] * 3)

    def recipe(self) -> dict:
        """Return everything that decides what is done."""
        return {
            "class": "sip.augmentation.sample.randaugment.RandAugment",
            "version": 1,
            "num_ops": self.num_ops,
            "magnitude": self.magnitude,
            "fill": self.fill,
        }

    def __call__(self, picture: Tensor) -> Tensor:
        """Return a changed picture: (3, H, W), uint8."""
        return self.transform(picture)
