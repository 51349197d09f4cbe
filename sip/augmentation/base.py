"""What the augmentation room is made of: three places where pictures are changed.

`offline` says whether drawn pictures join the real ones, `sample` acts on each picture while
training, `mix` on a batch or on feature maps. A combination fills several of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Offline(Protocol):
    """What is made before training."""

    draws: bool  # True: drawn pictures are asked for, and concatenated with the real ones

    def recipe(self) -> dict:
        """Return everything that decides which training pictures there are."""


class SampleTransform(Protocol):
    """What is done to one picture each time it is seen.

    Random numbers come from torch's global generator alone, which the caller seeds for each
    picture, so that neither batch nor worker processes change them.
    """

    def recipe(self) -> dict:
        """Return everything that decides what is done."""

    def __call__(self, picture: "Tensor") -> "Tensor":
        """Return a changed picture: (3, H, W), uint8, as the given one."""


class Mix(Protocol):
    """What is done to a batch, before or inside of the network.

    It calls the model itself, so that feature maps can be mixed through hooks. Random numbers as
    in `SampleTransform`, seeded for each step.
    """

    def recipe(self) -> dict:
        """Return everything that decides what is done."""

    def __call__(
        self, model: "Callable[[Tensor], Tensor]", pictures: "Tensor", targets: "Tensor"
    ) -> "tuple[Tensor, Tensor]":
        """Return the model's logits (B, num_classes) and the targets that they are trained to.

        Args:
            model: From pictures to logits.
            pictures: (B, 3, H, W), float32, mean and std removed.
            targets: (B, num_classes), float32, the probability of each class.
        """


@dataclass(frozen=True)
class Augmentation:
    """An arm: one choice for each place."""

    offline: Offline
    sample: SampleTransform
    mix: Mix

    def recipe(self) -> dict:
        """Return the recipes of the three places."""
        return {
            "offline": self.offline.recipe(),
            "sample": self.sample.recipe(),
            "mix": self.mix.recipe(),
        }
