"""What the images room hands out: one `Drawn` a prompt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from sip.prompts.base import Prompt

if TYPE_CHECKING:
    from torch import Tensor


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
        error: The reason, where it failed.
    """

    image_id: str
    pixels: "Tensor | None"
    unet_evaluations: int
    seconds: float
    status: str = "ok"
    error: str | None = None


Sink = Callable[[list[Drawn]], None]


class Generator(Protocol):
    """Draws a drawing list. A picture depends on its own prompt alone.

    Attributes:
        per_sample: Pictures drawn from each original; the pipeline hands it to the prompts.
        trainer_kwargs: Settings of Lightning's Trainer beyond the device that `load` names:
            devices, num_nodes, strategy.
    """

    per_sample: int
    trainer_kwargs: dict[str, Any]

    def recipe(self) -> dict:
        """Return everything but the prompt that decides the pixels."""

    def require(self) -> None:
        """Raise `UserError` if the weights are not on this disk."""

    def load(self, device: str) -> None:
        """Load the weights; `draw` runs on this device."""

    def num_evaluations(self, prompt: Prompt) -> int:
        """Return what this picture will cost, in forward passes of the U-Net."""

    def draw(self, prompts: Sequence[Prompt], batch_size: int, sink: Sink) -> None:
        """Hand one `Drawn` a prompt to `sink`, in any order, batch by batch as they are done.

        Raises:
            UserError: A prompt cannot be drawn with these settings; before any work.
        """
