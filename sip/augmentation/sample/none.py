"""Images as they are."""

from typing import TYPE_CHECKING

from sip.augmentation.sample.base import SampleTransform
from sip.core.component import component

if TYPE_CHECKING:
    from torch import Tensor


@component
class AsIs(SampleTransform):
    """Changes nothing."""

    def __call__(self, image: "Tensor") -> "Tensor":
        """Return the image itself."""
        return image
