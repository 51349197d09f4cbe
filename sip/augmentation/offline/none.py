"""No new images: no stage of the generation is asked for anything."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from sip.augmentation.base import Sources
from sip.augmentation.offline.passes import passes
from sip.core.component import Component, component

if TYPE_CHECKING:
    from torch import Tensor


@component
class NoGenerated(Component):
    """Real images only."""

    generates: ClassVar[bool] = False
    reads_probability: ClassVar[bool] = False

    def pool(self, sources: Sources, seed: int) -> Sequence[int]:
        """Return all positions."""
        return range(len(sources))

    def order(self, sources: Sources, length: int, seed: int) -> "Tensor":
        """Return which image is seen at each position of the training: (length,), int64."""
        return passes(self.pool(sources, seed), length, seed)

    def weights(self, sources: Sources, probabilities: Sequence[float | None]) -> None:
        """Return None: all images have the same weight."""
        return
