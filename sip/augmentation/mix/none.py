"""Batches as they are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sip.augmentation.base import Mix

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class NoMix(Mix):
    """Mixes nothing."""

    def __call__(
        self, model: "Callable[[Tensor], Tensor]", pictures: "Tensor", targets: "Tensor"
    ) -> "tuple[Tensor, Tensor]":
        """Return the logits of the pictures, and the targets themselves."""
        return model(pictures), targets
