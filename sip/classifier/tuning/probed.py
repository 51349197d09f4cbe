"""The network of a linear probe: a frozen backbone with a head that is trained."""

from typing import Any

import torch
from torch import Tensor, nn

from sip.core.errors import UserError


class Probed(nn.Module):
    """A timm model of which only the last linear layer is trained.

    Takes images (B, 3, H, W) or their features (B, D), float32; gives logits (B, num_classes).

    Raises:
        UserError: The model does not end in one linear layer.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.requires_grad_(False).eval()
        head = model.get_classifier()
        if not isinstance(head, nn.Linear):
            raise UserError(
                "classifier/tuning=probe: needs a network that ends in one linear layer, got a "
                f"{type(model).__name__}; choose another backbone, or classifier=finetune"
            )
        head.requires_grad_(True)

    def train(self, mode: bool = True) -> "Probed":
        """Set the mode of this module; the backbone stays in evaluation mode."""
        super().train(mode)
        self.model.eval()
        return self

    def features(self, images: Tensor) -> Tensor:
        """Return the features (B, D) of images; no gradient is kept."""
        with torch.no_grad():
            return self.model.forward_head(self.model.forward_features(images), pre_logits=True)

    def forward(self, given: Tensor) -> Tensor:
        """Return the logits of images or of features."""
        return self.model.get_classifier()(self.features(given) if given.dim() == 4 else given)
