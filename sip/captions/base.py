"""What the captions room hands out: candidate captions of a picture."""

from collections.abc import Sequence
from typing import Protocol

from sip.dataset.base import Sample


class Captioner(Protocol):
    """Writes several captions a picture; one picture's never depend on the others'."""

    def recipe(self) -> dict:
        """Return everything that decides what is written."""

    def load(self, device: str) -> None:
        """Load the weights, if there are any."""

    def caption(self, samples: Sequence[Sample]) -> list[list[str]]:
        """Return the candidates of each sample, without repetitions."""
