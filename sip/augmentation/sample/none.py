"""Pictures as they are."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class AsIs:
    """Changes nothing."""

    def recipe(self) -> dict:
        """Return everything that decides what is done."""
        return {"class": "sip.augmentation.sample.none.AsIs", "version": 1}

    def __call__(self, picture: "Tensor") -> "Tensor":
        """Return the picture itself."""
        return picture
