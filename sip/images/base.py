"""What the images room hands out: one `Drawn` a prompt."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sip.device.settings import Runtime
from sip.prompts.base import Prompt

if TYPE_CHECKING:
    from torch import Tensor

    from sip.images.batches import Batch

# Why a picture may be missing: its source cannot be read, or what was drawn is no good.
REASONS = ("unreadable", "not finite", "black", "flagged")


@dataclass(frozen=True)
class Drawn:
    """A drawn picture, or why there is none.

    Attributes:
        image_id: Of its prompt.
        pixels: (3, H, W), float32, in [0, 1], on the CPU; None if `status` is "failed".
        unet_evaluations: Forward passes of the U-Net for this picture: executed steps, twice
            with guidance. 0 if it failed before the first.
        seconds: This picture's share of its batch's time.
        status: "ok" or "failed".
        reason: One of `REASONS`, where it failed.
        error: The same in a line for people.
    """

    image_id: str
    pixels: "Tensor | None"
    unet_evaluations: int
    seconds: float
    status: str = "ok"
    reason: str | None = None
    error: str | None = None


Sink = Callable[[list[Drawn]], None]


class Generator(Protocol):
    """Draws a drawing list. A picture depends on its own prompt alone.

    Attributes:
        per_sample: Pictures drawn from each original; the pipeline hands it to the prompts.
        max_failed: Share of the pictures that may fail before the run counts as failed.
        format: File format of the pictures: "png", "jpeg" or "webp".
        storage: "files" or "webdataset".
        size: Height and width of the pictures, in px.
        reads_source: Whether the original's pixels are needed.
    """

    per_sample: int
    max_failed: float
    format: str
    storage: str
    size: int
    reads_source: bool

    def recipe(self) -> dict:
        """Return everything but the prompt that decides the file."""

    def require(self) -> None:
        """Raise `UserError` if the weights cannot be had."""

    def check(self, prompts: Sequence[Prompt]) -> None:
        """Raise `UserError` if a prompt cannot be drawn with these settings."""

    def load(self, runtime: Runtime) -> None:
        """Load the weights onto the device; does nothing where they are there."""

    def group(self, prompt: Prompt) -> Hashable:
        """Return what rows must share in order to be drawn in one batch."""

    def num_evaluations(self, prompt: Prompt) -> int:
        """Return what this picture will cost, in forward passes of the U-Net."""

    def predict_step(self, batch: "Batch") -> list[Drawn]:
        """Draw one batch, rows of one group; return one `Drawn` a row."""
