"""MoEx (Li et al., CVPR 2021, arXiv 2002.11102, "On Feature Normalization and Data Augmentation").

An image's features after the stem get the moments of another image's, and the loss becomes
lam * CE(y_a) + (1 - lam) * CE(y_b): cross entropy is linear in its target, so the mixed target
states it. `moments` states the place, which for ViT is ours.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from sip.augmentation.base import Mix
from sip.augmentation.mix.images import happens
from sip.core.component import component
from sip.core.ranges import Positive, Share

if TYPE_CHECKING:
    from torch import Tensor, nn


@component
class MoEx(Mix):
    """Exchanges moments of features within a batch, in training only.

    Args:
        lam: Share of the image's own label in its target.
        prob: Probability that a batch is changed.
        epsilon: Added to the variance of the features.
    """

    lam: Share
    prob: Share
    epsilon: Positive

    def require(self, network: "nn.Module") -> None:
        """Check that the place after the stem is known.

        Raises:
            UserError: It is not.
        """
        from sip.augmentation.mix.moments import place

        place(network)

    def __call__(
        self, model: "Callable[[Tensor], Tensor]", images: "Tensor", targets: "Tensor"
    ) -> "tuple[Tensor, Tensor]":
        """Return the logits with exchanged moments, and the mixed targets.

        Raises:
            UserError: As `require`.
        """
        import torch

        network = cast("nn.Module", model)  # it must have modules to look into
        if not (network.training and happens(self.prob)):
            return model(images), targets
        order = torch.randperm(len(images)).to(images.device)
        return self.exchanged(network, images, targets, order)

    def exchanged(
        self, network: "nn.Module", images: "Tensor", targets: "Tensor", order: "Tensor"
    ) -> "tuple[Tensor, Tensor]":
        """Return logits and targets with image i given the moments of image order[i]."""
        from sip.augmentation.mix.moments import exchanged

        with exchanged(network, order, self.epsilon):
            logits = network(images)
        return logits, self.lam * targets + (1 - self.lam) * targets[order]
