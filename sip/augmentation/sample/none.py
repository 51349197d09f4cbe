"""Pictures as they are."""

from typing import TYPE_CHECKING

from sip.core.component import Component, component

if TYPE_CHECKING:
    from torch import Tensor


@component
class AsIs(Component):
    """Changes nothing."""

    def __call__(self, picture: "Tensor") -> "Tensor":
        """Return the picture itself."""
        return picture
