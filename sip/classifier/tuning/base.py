"""Protocol of tuning: from a backbone's network to the one that is trained, and back.

Only the optimiser looks at `requires_grad`. Frozen layers have none, and stay in evaluation
mode, so BatchNorm's statistics, dropout and stochastic depth do not change them.
"""

from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sip.backbone.base import Backbone


class Tuning(Protocol):
    """Chooses which weights are trained."""

    frozen: ClassVar[bool]  # True: all but the head, so that features can be computed once and kept
    trains_all: ClassVar[bool]  # True: no layer is frozen

    def recipe(self) -> dict:
        """Return everything that decides what is trained."""

    def check(self, backbone: "Backbone") -> None:
        """Refuse a backbone that does not fit, before anything is created.

        Raises:
            UserError: It is from scratch and would stay at random weights, or a package is missing.
        """

    def apply(self, network: "nn.Module") -> "nn.Module":
        """Return the network to train; random numbers come from torch's global generator.

        Raises:
            UserError: The network does not fit.
        """

    def weights(self, network: "nn.Module") -> "dict[str, Tensor]":
        """Return the state for a plain network of the backbone that gives the same logits."""

    def load(self, network: "nn.Module", weights: "dict[str, Tensor]") -> "nn.Module":
        """Return a network for evaluation with the state that `weights` returned."""
