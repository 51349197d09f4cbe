"""What the captions stage produces: a row of candidate captions for each image.

A captioner has two parts: a component, which is cheap to build and knows the recipe
and the keys of the rows, and the module that its `load` returns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from sip.dataset.base import Sample
from sip.device.settings import Runtime

if TYPE_CHECKING:
    from sip.device.module import PredictionModule


@dataclass(frozen=True)
class CaptionRow:
    """The candidate captions of an image.

    Attributes:
        key: Key of the row.
        sample_id: Id of the image.
        captions: Without repetitions; none if the image failed.
        status: "ok" or "failed".
        error: Why it failed, in a line.
    """

    key: str
    sample_id: str
    captions: list[str]
    status: str
    error: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return the row as the store keeps it."""
        return dict(vars(self))


class Captioner(Protocol):
    """Generates several captions for each image, independent of the other images."""

    def recipe(self) -> dict[str, Any]:
        """Return everything that decides the captions."""

    def require(self) -> None:
        """Raise UserError if the weights cannot be had; may download them."""

    def key(self, sample: Sample) -> str:
        """Return the key of an image's row: a hash of all that captioning reads of the sample."""

    def load(self, runtime: Runtime) -> "PredictionModule":
        """Return a new module, with the weights on the device if there are any."""


@runtime_checkable
class StatedCaptions(Protocol):
    """Captions that are there already; nothing of them is in the store.

    It has `recipe` and `require` as a `Captioner`, which decide and check the captions.
    """

    def stated(self, samples: Sequence[Sample]) -> list[list[str]]:
        """Return the captions of each sample, at least one, without repetitions.

        Raises:
            UserError: Captions are missing; names the samples.
        """
