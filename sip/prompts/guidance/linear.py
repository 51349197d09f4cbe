"""A straight line over the same range as the paper's rule: ours, to tell shape from range."""

from dataclasses import dataclass
from typing import ClassVar

from sip.core.component import Component
from sip.prompts.guidance.base import known, number, scaling_function


@dataclass(frozen=True)
class Linear(Component):
    """From `low` at s' = 0 to `high` at s' = 1."""

    needs_similarity: ClassVar[bool] = True

    low: float
    high: float
    scaling: str

    def __post_init__(self) -> None:
        number("low", self.low), number("high", self.high)
        scaling_function(self.scaling)

    def __call__(self, similarity: float | None) -> float:
        """Return the guidance scale for a cosine in [-1, 1]."""
        return self.low + (self.high - self.low) * scaling_function(self.scaling)(known(similarity))
