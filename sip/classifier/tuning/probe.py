"""Linear probe: a linear classifier on the features of a frozen backbone.

The features are what timm hands to its head's last linear layer (`forward_head(pre_logits=True)`):
pooled, and normalised if the model does so. Without augmentation they depend on the image only
and are computed once (`sip.classifier.kept_features`).
"""

from typing import TYPE_CHECKING, ClassVar

from sip.core.component import Component, component
from sip.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sip.backbone.base import Backbone


@component
class Probe(Component):
    """Trains only the head."""

    frozen: ClassVar[bool] = True
    trains_all: ClassVar[bool] = False

    def check(self, backbone: "Backbone") -> None:
        """Refuse a backbone from scratch.

        Raises:
            UserError: It is one: its features would be random for good.
        """
        require_pretrained("probe", backbone)

    def apply(self, network: "nn.Module") -> "nn.Module":
        """Return the network, frozen up to its last linear layer.

        Raises:
            UserError: It has no single last linear layer.
        """
        from sip.classifier.tuning.probed import Probed

        return Probed(network)

    def weights(self, network: "nn.Module") -> "dict[str, Tensor]":
        """Return the whole model's state."""
        return network.model.state_dict()  # type: ignore[union-attr]

    def load(self, network: "nn.Module", weights: "dict[str, Tensor]") -> "nn.Module":
        """Return the network with this state."""
        network.model.load_state_dict(weights)  # type: ignore[union-attr]
        return network


def require_pretrained(tuning: str, backbone: "Backbone") -> None:
    """Refuse a backbone from scratch.

    Raises:
        UserError: It is one.
    """
    if not backbone.pretrained:
        raise UserError(
            f"classifier/tuning={tuning}: needs a backbone with pre-trained weights, got one from "
            "scratch, whose frozen weights would stay random; choose backbone=vit or clip_vit, "
            "set backbone.weights, or take classifier=scratch"
        )
