"""Batches as they are."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from sip.augmentation.base import Mix
from sip.core.component import component

if TYPE_CHECKING:
    from torch import Tensor


@component
class NoMix(Mix):
    """Mixes nothing."""

    def __call__(
        self, model: "Callable[[Tensor], Tensor]", images: "Tensor", targets: "Tensor"
    ) -> "tuple[Tensor, Tensor]":
        """Return the logits of the images, and the targets themselves."""
        return model(images), targets
