"""Random erasing (Zhong et al., AAAI 2020, arXiv 1708.04896), by torchvision (BSD).

The paper fills with noise or the mean colour; here one grey level, as in the other arms. timm's
`RandomErasing` draws from Python's own random numbers, which no seed of a picture governs.
"""

from torch import Tensor
from torchvision.transforms import v2


class RandomErasing:
    """A random rectangle, inside of the picture, is filled.

    Args:
        prob: Probability that a picture is changed, in [0, 1].
        min_area, max_area: Of the rectangle, in parts of the picture, in [0, 1].
        min_aspect, max_aspect: Of its height by its width, > 0.
        fill: Grey level, in [0, 255].
    """

    def __init__(
        self,
        prob: float,
        min_area: float,
        max_area: float,
        min_aspect: float,
        max_aspect: float,
        fill: int,
    ) -> None:
        self.values = {
            "prob": prob,
            "min_area": min_area,
            "max_area": max_area,
            "min_aspect": min_aspect,
            "max_aspect": max_aspect,
            "fill": fill,
        }
        self.transform = v2.RandomErasing(
            p=prob, scale=(min_area, max_area), ratio=(min_aspect, max_aspect), value=fill
        )

    def recipe(self) -> dict:
        """Return everything that decides what is done."""
        return {
            "class": "sip.augmentation.sample.random_erasing.RandomErasing",
            "version": 1,
            **self.values,
        }

    def __call__(self, picture: Tensor) -> Tensor:
        """Return a changed picture: (3, H, W), uint8."""
        return self.transform(picture)
