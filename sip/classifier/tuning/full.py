"""All weights are trained: from scratch, and fine-tuning."""

from typing import TYPE_CHECKING, ClassVar

from sip.core.component import Component, component

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sip.backbone.base import Backbone


@component
class Full(Component):
    """Freezes nothing."""

    frozen: ClassVar[bool] = False
    trains_all: ClassVar[bool] = True

    def check(self, backbone: "Backbone") -> None:
        """Refuse nothing."""

    def apply(self, network: "nn.Module") -> "nn.Module":
        """Return the network itself."""
        return network

    def weights(self, network: "nn.Module") -> "dict[str, Tensor]":
        """Return the network's state."""
        return network.state_dict()

    def load(self, network: "nn.Module", weights: "dict[str, Tensor]") -> "nn.Module":
        """Return the network with this state."""
        network.load_state_dict(weights)
        return network
