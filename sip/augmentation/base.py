"""What the augmentation room is made of: three places where pictures are changed.

`offline` says whether drawn pictures join the real ones, `sample` acts on each picture while
training, `mix` on a batch or on feature maps. A combination fills several of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Protocol

from sip.core.component import Component
from sip.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

Sources = Sequence[int | None]  # of each picture the position of its original; None: it is real


class Offline(Protocol):
    """What is made before training, and how it enters the training."""

    draws: bool  # True: drawn pictures are asked for

    def recipe(self) -> dict:
        """Return everything that decides which training pictures there are."""

    def pool(self, sources: Sources, seed: int) -> list[int]:
        """Return the positions of the pictures that one pass of the training goes through."""

    def order(self, sources: Sources, length: int, seed: int) -> "Tensor":
        """Return which picture is seen at each position of the training: (length,), int64.

        One random order of the pool after the other, a function of the arguments alone.
        """

    def weights(self, sources: Sources) -> "Tensor | None":
        """Return each picture's weight in the loss, (N,), float32, > 0; None where all are 1."""


class SampleTransform(Protocol):
    """What is done to one picture each time it is seen.

    Random numbers come from torch's global generator alone, which the caller seeds for each
    picture, so that neither batch nor worker processes change them.
    """

    def recipe(self) -> dict:
        """Return everything that decides what is done."""

    def __call__(self, picture: "Tensor") -> "Tensor":
        """Return a changed picture: (3, H, W), uint8, as the given one."""


class Mix(Component, ABC):
    """What is done to a batch, before or inside of the network.

    It calls the model itself, so that feature maps can be mixed through hooks. Random numbers as
    in `SampleTransform`, seeded for each step. B is any number, one and odd ones included.
    """

    def require(self, network: "nn.Module") -> None:
        """Check that it can be done to a network; most can to all.

        Raises:
            UserError: It cannot.
        """
        return

    @abstractmethod
    def __call__(
        self, model: "Callable[[Tensor], Tensor]", pictures: "Tensor", targets: "Tensor"
    ) -> "tuple[Tensor, Tensor]":
        """Return the model's logits (B, num_classes) and the targets that they are trained to.

        Args:
            model: From pictures to logits.
            pictures: (B, 3, H, W), float32, mean and std removed.
            targets: (B, num_classes), float32, the probability of each class, times the picture's
                weight in the loss. They are mixed linearly, so that the weights mix with them.
        """


@dataclass(frozen=True)
class Augmentation:
    """An arm: one choice for each place.

    Raises:
        UserError: A place was given a bare name, which Hydra puts in as a text.
    """

    offline: Offline
    sample: SampleTransform
    mix: Mix

    def __post_init__(self) -> None:
        """Check that every place was filled."""
        for name in (field.name for field in fields(self)):
            given = getattr(self, name)
            if isinstance(given, str):
                raise UserError(
                    f"augmentation.{name}: expected a choice with a slash, "
                    f"augmentation/{name}={given}, came augmentation.{name}={given}"
                )

    def recipe(self) -> dict:
        """Return the recipes of the three places."""
        return {
            "offline": self.offline.recipe(),
            "sample": self.sample.recipe(),
            "mix": self.mix.recipe(),
        }
