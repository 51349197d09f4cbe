"""No new pictures: no room before this one is asked for anything."""

from typing import TYPE_CHECKING

from sip.augmentation.base import Sources
from sip.augmentation.offline.passes import passes

if TYPE_CHECKING:
    from torch import Tensor


class NoDrawn:
    """Real pictures alone."""

    draws = False

    def recipe(self) -> dict:
        """Return everything that decides which training pictures there are."""
        return {"class": "sip.augmentation.offline.none.NoDrawn", "version": 1}

    def pool(self, sources: Sources, seed: int) -> list[int]:
        """Return all positions."""
        return list(range(len(sources)))

    def order(self, sources: Sources, length: int, seed: int) -> "Tensor":
        """Return which picture is seen at each position of the training: (length,), int64."""
        return passes(self.pool(sources, seed), length, seed)

    def weights(self, sources: Sources) -> None:
        """Return None: all pictures weigh the same."""
        return
