"""Linear probe: a linear classifier on the features of a frozen backbone.

The features are what timm hands to its head's last linear layer (`forward_head(pre_logits=True)`):
pooled, and normalised where the model does so. Without augmentation they depend on the picture
alone and are computed once (`sip.classifier.features`).
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sip.core.errors import UserError

if TYPE_CHECKING:
    from sip.backbone.base import Backbone


class Probed(nn.Module):
    """A timm model of which only the last linear layer is trained.

    Takes pictures (B, 3, H, W) or their features (B, D), float32; gives logits (B, num_classes).
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.requires_grad_(False).eval()
        head = model.get_classifier()
        if not isinstance(head, nn.Linear):
            raise _no_linear_head(model)
        head.requires_grad_(True)

    def train(self, mode: bool = True) -> "Probed":
        """Set the mode that others see; the backbone stays in evaluation mode."""
        super().train(mode)
        self.model.eval()
        return self

    def features(self, pictures: Tensor) -> Tensor:
        """Return the features (B, D) of pictures; no gradient is kept."""
        with torch.no_grad():
            return self.model.forward_head(self.model.forward_features(pictures), pre_logits=True)

    def forward(self, given: Tensor) -> Tensor:
        """Return the logits of pictures or of features."""
        return self.model.get_classifier()(self.features(given) if given.dim() == 4 else given)


class Probe:
    """Trains the head alone."""

    frozen = True

    def recipe(self) -> dict | None:
        """Return everything that decides what is trained."""
        return {"class": "sip.classifier.tuning.probe.Probe", "version": 1}

    def check(self, backbone: "Backbone") -> None:
        """Refuse a backbone from scratch.

        Raises:
            UserError: It is one: its features would be random for good.
        """
        require_pretrained("probe", backbone)

    def apply(self, network: nn.Module) -> nn.Module:
        """Return the network, frozen up to its last linear layer.

        Raises:
            UserError: It has no single last linear layer.
        """
        return Probed(network)

    def weights(self, network: nn.Module) -> dict[str, Tensor]:
        """Return the whole model's state."""
        assert isinstance(network, Probed)
        return network.model.state_dict()

    def load(self, network: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
        """Return the network with this state."""
        assert isinstance(network, Probed)
        network.model.load_state_dict(weights)
        return network


def require_pretrained(tuning: str, backbone: "Backbone") -> None:
    """Refuse a backbone from scratch.

    Raises:
        UserError: It is one.
    """
    if not backbone.pretrained:
        raise UserError(
            f"classifier/tuning={tuning}: expected a backbone with pre-trained weights, got one "
            "from scratch, whose frozen weights would stay random; choose backbone=vit or "
            "clip_vit, set backbone.weights, or take classifier=scratch"
        )


def _no_linear_head(model: nn.Module) -> UserError:
    return UserError(
        f"classifier/tuning=probe: expected a network that ends in one linear layer, got a "
        f"{type(model).__name__}; choose another backbone, or classifier=finetune"
    )
