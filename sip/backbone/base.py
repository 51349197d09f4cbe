"""Protocol of a backbone: a classifier network and the transform of its input."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import nn


class Backbone(Protocol):
    """Makes networks from images (B, 3, input_size, input_size) to logits (B, num_classes)."""

    @property
    def input_size(self) -> int:
        """Side of the images, px."""

    @property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation, each per channel, of pixels in [0, 1]."""

    @property
    def pretrained(self) -> bool:
        """Whether the weights are pre-trained; False: from scratch."""

    def recipe(self) -> dict:
        """Return everything that determines the network at the start of training."""

    def require(self) -> None:
        """Check that the weights are on this disk, without network.

        Raises:
            UserError: They are not.
        """

    def create(self, num_classes: int, class_names: Sequence[str] = ()) -> "nn.Module":
        """Return a timm network; random numbers come from torch's global generator.

        Args:
            num_classes: Classes of its head; it is fresh unless the weights have one for
                `class_names`.
            class_names: By label, if they are known.
        """

    def describe(self, network: "nn.Module", class_names: Sequence[str]) -> dict[str, Any]:
        """Return the configuration to store next to the trained weights of a network.

        See `sip.backbone.saved.describe`.
        """
