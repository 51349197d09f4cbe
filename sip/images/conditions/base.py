"""Where the conditions of `images=controlnet` come from: made from the originals, or files."""

from abc import ABC
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sip.core.component import Component
from sip.dataset.base import Sample
from sip.device.settings import Runtime
from sip.prompts.base import Companion

if TYPE_CHECKING:
    from torch import Tensor

# From an original to its condition, both (3, H, W), float32, in [0, 1].
Conditioner = Callable[["Tensor"], "Tensor"]


class Condition(Component, ABC):
    """Gives each original its condition."""

    def of(self, samples: Sequence[Sample]) -> dict[str, Companion]:
        """Return sample_id -> condition, of those that are files; none if they are made.

        Raises:
            UserError: Files are missing or do not fit; names them.
        """
        return {}

    def require(self) -> None:
        """Make sure that packages and weights are on this disk, if they are needed.

        Raises:
            UserError: They are not.
        """

    def load(self, runtime: Runtime) -> Conditioner | None:
        """Return what makes the conditions, its model on the device; None if they are files."""
        return None
