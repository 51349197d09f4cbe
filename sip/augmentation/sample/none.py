"""Pictures as they are."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sip.core.component import Component

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class AsIs(Component):
    """Changes nothing."""

    def __call__(self, picture: "Tensor") -> "Tensor":
        """Return the picture itself."""
        return picture
