"""Where the masks of `images=inpaint` come from.

White marks a part of the image, as a rule the object.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from sip.core.component import Component, component
from sip.dataset.base import Sample
from sip.device.settings import Runtime
from sip.prompts.base import Companion

if TYPE_CHECKING:
    from sip.images.masks.segmenter import Segmenter


@component
class Masks(Component, ABC):
    """Gives each original its mask.

    Args:
        kept: "white" or "black": the part that stays. Data sets mark the object in white; diffusers
            marks in white what is painted.
    """

    kept: Literal["white", "black"]

    @abstractmethod
    def of(self, samples: Sequence[Sample]) -> dict[str, Companion]:
        """Return sample_id -> mask.

        Raises:
            UserError: Masks are missing or do not fit; names them.
        """

    def require(self) -> None:
        """Make sure, without loading, that weights are on this disk if they are needed.

        Raises:
            UserError: They are not.
        """

    def load(self, runtime: Runtime) -> "Segmenter | None":
        """Return a model that finds the masks which are no files; None if all are."""
        return None
