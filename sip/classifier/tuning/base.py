"""What a way of tuning is: from a backbone's network to the one that is trained, and back.

Only the optimiser looks at `requires_grad`. What is frozen has none, and stays in evaluation mode
as well, so that neither BatchNorm's statistics nor dropout or stochastic depth change it.
"""

from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sip.backbone.base import Backbone


class Tuning(Protocol):
    """Says which weights are trained."""

    frozen: ClassVar[bool]  # True: all but the head, so that features can be computed once and kept
    trains_all: ClassVar[bool]  # True: no layer is frozen

    def recipe(self) -> dict:
        """Return everything that decides what is trained."""

    def check(self, backbone: "Backbone") -> None:
        """Refuse a backbone that this cannot be sensible for, before anything is created.

        Raises:
            UserError: It is from scratch and would stay at random weights, or a package is missing.
        """

    def apply(self, network: "nn.Module") -> "nn.Module":
        """Return the network to train, made of a fresh one; its random numbers are torch's.

        Raises:
            UserError: It cannot be done to this network.
        """

    def weights(self, network: "nn.Module") -> "dict[str, Tensor]":
        """Return the state for a plain network of the backbone that gives the same logits."""

    def load(self, network: "nn.Module", weights: "dict[str, Tensor]") -> "nn.Module":
        """Return a network for evaluation that holds what `weights` gave, the given one or not."""
