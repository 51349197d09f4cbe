"""What the scores room hands out: how well a caption fits its picture."""

from collections.abc import Sequence
from typing import Protocol

from sip.dataset.base import Sample


class Scorer(Protocol):
    """Measures the similarity of pictures and captions."""

    batch_size: int  # pictures; outside of the recipe

    def recipe(self) -> dict:
        """Return everything that decides the scores."""

    def require(self) -> None:
        """Raise UserError if weights are missing on this disk; without network."""

    def load(self, device: str) -> None:
        """Load the weights, if there are any."""

    def score(
        self, samples: Sequence[Sample], captions: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """Return the cosine in [-1, 1] of each caption with its sample, to 4 decimals."""
