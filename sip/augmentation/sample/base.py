"""A change of one image while training: what `base` and `sample` are filled with."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from sip.core.component import Component
from sip.core.errors import UserError

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


def as_given(changed: "Tensor", image: "Tensor", name: str) -> "Tensor":
    """Return a changed image if it has the size and type of the given one.

    Args:
        name: Name of the library's transform.

    Raises:
        UserError: It has not: the network would be trained on other inputs than it is tested on.
    """
    if changed.shape != image.shape or changed.dtype != image.dtype:
        kinds = [f"{tuple(one.shape)} {one.dtype}" for one in (image, changed)]
        raise UserError(
            f"augmentation: {name} must keep the size and type of an image, {kinds[0]}, got "
            f"{kinds[1]}; choose another transform, or arguments that keep them"
        )
    return changed
