"""What a backbone is: a classifier network, and how its input is made."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import nn


class Backbone(Protocol):
    """Makes networks from images (B, 3, input_size, input_size) to logits (B, num_classes)."""

    @property
    def input_size(self) -> int:
        """Side of the images, px."""

    @property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean, which is subtracted before the network, and std, by which is divided.

        Each per channel, of pixels in [0, 1].
        """

    @property
    def pretrained(self) -> bool:
        """False: from scratch."""

    def recipe(self) -> dict:
        """Return everything that decides the network at the start of training."""

    def require(self) -> None:
        """Check that the weights are on this disk, without network.

        Raises:
            UserError: They are not.
        """

    def create(self, num_classes: int) -> "nn.Module":
        """Return a network with a fresh head; random numbers come from torch's global generator."""
