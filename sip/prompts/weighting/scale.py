"""Token embeddings times their weight, then the prompt's mean restored.

Source: the rule of AUTOMATIC1111's stable-diffusion-webui ("Original" emphasis), written again
from its description. Ours: the mean is that of one prompt, never of the batch it is in.
"""

from typing import TYPE_CHECKING

from sip.core.component import Component, component

if TYPE_CHECKING:
    from torch import Tensor

    from sip.prompts.weighting.base import Encode
    from sip.prompts.weighting.tokens import Tokens


@component
class ScaleWeighting(Component):
    """z w mean(z) / mean(z w), means over a prompt's tokens and channels."""

    def __call__(
        self, encode: "Encode", tokens: "Tokens", empty: "Tensor | None" = None
    ) -> "Tensor":
        """Return embeddings (B, L, D), float32, one a prompt; the empty one is not read."""
        import torch

        hidden = encode(tokens.ids, torch.ones_like(tokens.ids)).float()
        weights = tokens.weights[:, :, None].to(hidden.device)
        scaled = hidden * weights
        restored = scaled * (hidden.mean((1, 2), keepdim=True) / scaled.mean((1, 2), keepdim=True))
        # An unweighted prompt stays as it is to the last bit.
        return torch.where((weights == 1).all(1, keepdim=True), hidden, restored)
