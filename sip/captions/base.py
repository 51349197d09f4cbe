"""What the captions room hands out: candidate captions of a picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from sip.dataset.base import Sample

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


class Captioner(Protocol):
    """Writes several captions a picture; one picture's never depend on the others'.

    `prepare` may run in background threads, beside `caption`, once `load` is through.
    """

    def recipe(self) -> dict:
        """Return everything that decides what is written."""

    def require(self) -> None:
        """Raise UserError if the weights cannot be had; may download them."""

    def load(self, device: str) -> None:
        """Load the weights, if there are any; does nothing where they are on the device."""

    def clear(self) -> None:
        """Let go of the weights, and of their memory on the device; `load` brings them back."""

    def key(self, sample: Sample) -> str:
        """Return the key of a picture's row: a hash of all that `caption` reads of the sample."""

    def prepare(self, pictures: "Sequence[Image]") -> "Tensor":
        """Return what `caption` needs to see of RGB pictures: a row each, on the CPU."""

    def caption(self, samples: Sequence[Sample], pixels: "Tensor") -> list[list[str]]:
        """Return the candidates of each sample, without repetitions: one batch of the device.

        Args:
            samples: As many as fit the device together.
            pixels: What `prepare` made of their pictures.
        """
