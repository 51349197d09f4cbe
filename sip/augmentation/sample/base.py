"""A change of one image while training: what `base` and `sample` are filled with."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from sip.core.component import Component

if TYPE_CHECKING:
    from torch import Tensor


class SampleTransform(Component, ABC):
    """A change of one image, applied each time the image is seen.

    Random numbers come from torch's global generator only. The caller seeds it for each image, so
    batch size and worker processes do not change them.
    """

    def require(self) -> None:
        """Check before any costly work that the transform can be built.

        Raises:
            UserError: It cannot.
        """
        return

    @abstractmethod
    def __call__(self, image: "Tensor") -> "Tensor":
        """Return a changed image: (3, H, W), uint8, as the given one."""
