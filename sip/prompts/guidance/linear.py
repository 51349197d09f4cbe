"""A straight line over the same range as the paper's rule: ours, to tell shape from range."""

from typing import ClassVar

from sip.core.component import Component, component
from sip.prompts.guidance.base import SCALINGS, Scaling, known


@component
class Linear(Component):
    """A straight line from `low` at s' = 0 to `high` at s' = 1."""

    needs_similarity: ClassVar[bool] = True

    low: float
    high: float
    scaling: Scaling

    def __call__(self, similarity: float | None) -> float:
        """Return the guidance scale for a cosine in [-1, 1]."""
        return self.low + (self.high - self.low) * SCALINGS[self.scaling](known(similarity))
