"""Where the conditions of `images=controlnet` come from: images made from the originals."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from sip.core.component import Component
from sip.device.settings import Runtime

if TYPE_CHECKING:
    from torch import Tensor

# From an original to its condition, both (3, H, W), float32, in [0, 1].
Conditioner = Callable[["Tensor"], "Tensor"]


class Condition(Component, ABC):
    """Makes a condition of each original."""

    @abstractmethod
    def require(self) -> None:
        """Make sure that packages and weights are on this disk.

        Raises:
            UserError: They are not.
        """

    @abstractmethod
    def load(self, runtime: Runtime) -> Conditioner:
        """Return what makes the conditions, with its model, if any, on the device."""
