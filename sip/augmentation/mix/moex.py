"""MoEx (Li et al., CVPR 2021, arXiv 2002.11102, "On Feature Normalization and Data Augmentation").

A picture's features after the stem get the moments of another picture's, and the loss becomes
lam * CE(y_a) + (1 - lam) * CE(y_b): cross entropy is linear in its target, so that the mixed target
says it. `moments` states the place, which for ViT is ours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from sip.augmentation.base import Mix
from sip.augmentation.mix.chance import happens
from sip.augmentation.mix.moments import exchanged, place


@dataclass(frozen=True)
class MoEx(Mix):
    """Moments of features are exchanged within a batch; never outside of training.

    Args:
        lam: Share of the picture's own label in its target, in [0, 1].
        prob: Probability that a batch is changed, in [0, 1].
        epsilon: Added to the variance of the features.
    """

    lam: float
    prob: float
    epsilon: float

    def require(self, network: nn.Module) -> None:
        """Check that the place after the stem is known.

        Raises:
            UserError: It is not.
        """
        place(network)

    def __call__(
        self, model: Callable[[Tensor], Tensor], pictures: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the logits with exchanged moments, and the mixed targets.

        Raises:
            UserError: As `require`.
        """
        network = cast(nn.Module, model)  # it must have modules to look into
        if not (network.training and happens(self.prob)):
            return model(pictures), targets
        order = torch.randperm(len(pictures)).to(pictures.device)
        return self.exchanged(network, pictures, targets, order)

    def exchanged(
        self, network: nn.Module, pictures: Tensor, targets: Tensor, order: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return logits and targets where picture i gets the moments of picture order[i]."""
        with exchanged(network, order, self.epsilon):
            logits = network(pictures)
        return logits, self.lam * targets + (1 - self.lam) * targets[order]
