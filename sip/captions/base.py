"""What the captions room hands out: candidate captions of a picture."""

from collections.abc import Sequence
from typing import Protocol

from sip.dataset.base import Sample


class Captioner(Protocol):
    """Writes several captions a picture; one picture's never depend on the others'."""

    batch_size: int  # pictures; outside of the recipe

    def recipe(self) -> dict:
        """Return everything that decides what is written."""

    def require(self) -> None:
        """Raise UserError if weights are missing on this disk; without network."""

    def load(self, device: str) -> None:
        """Load the weights, if there are any."""

    def caption(self, samples: Sequence[Sample]) -> list[list[str]]:
        """Return the candidates of each sample, without repetitions."""
