"""CutMix, then MoEx with the same partner, as in the authors' code (main_moex_cutmix.py).

With lambda_c of CutMix and lambda_m of MoEx the target of an image a, whose partner is b and whose
partner's partner is c, is lambda_m (lambda_c a + (1 - lambda_c) b) + (1 - lambda_m) (lambda_c b +
(1 - lambda_c) c). The authors' partners are a random order; torchvision's CutMix, and so this,
takes the neighbour in a batch that is in random order already.
"""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, cast

from sip.augmentation.base import Mix
from sip.augmentation.mix.images import cutmix, happens
from sip.augmentation.mix.moex import MoEx
from sip.core.component import component
from sip.core.ranges import Positive, Share

if TYPE_CHECKING:
    from torch import Tensor, nn


@component
class MoExCutMix(Mix):
    """CutMix and MoEx, each with its probability.

    Args:
        lam: Lambda of MoEx, as in `moex`.
        moex_prob: Probability that a batch's moments are exchanged.
        epsilon: Epsilon of MoEx, as in `moex`.
        cutmix_alpha: Alpha of CutMix, as in `cutmix`.
        cutmix_prob: Probability that a batch is mixed by CutMix.
    """

    lam: Share
    moex_prob: Share
    epsilon: Positive
    cutmix_alpha: Positive
    cutmix_prob: Share

    @cached_property
    def moex(self) -> MoEx:
        """The exchange of moments."""
        return MoEx(self.lam, self.moex_prob, self.epsilon)

    def require(self, network: "nn.Module") -> None:
        """Check that the place after the stem is known.

        Raises:
            UserError: It is not.
        """
        self.moex.require(network)

    def __call__(
        self, model: "Callable[[Tensor], Tensor]", images: "Tensor", targets: "Tensor"
    ) -> "tuple[Tensor, Tensor]":
        """Return the logits and the mixed targets.

        Raises:
            UserError: As `require`.
        """
        import torch

        network = cast("nn.Module", model)  # it must have modules to look into
        if not network.training:
            return model(images), targets
        if happens(self.cutmix_prob):
            images, targets = cutmix(self.cutmix_alpha)(images, targets)
        if not happens(self.moex.prob):
            return model(images), targets
        order = torch.arange(len(images), device=images.device).roll(1)
        return self.moex.exchanged(network, images, targets, order)
