"""A straight line over the same range as the paper's rule: ours, to tell shape from range."""

from sip.core.component import added, component
from sip.core.ranges import NotNegative
from sip.prompts.guidance.base import Cosines, FromCosine, Scaling


@component
class Linear(FromCosine):
    """A straight line from `low` at s' = 0 to `high` at s' = 1, with s' by `FromCosine`."""

    low: NotNegative
    high: NotNegative
    scaling: Scaling
    cosines: Cosines = added(neutral=None)

    def __call__(self, similarity: float | None) -> float:
        """Return the guidance scale for a cosine in [-1, 1]."""
        return self.low + (self.high - self.low) * self.scaled(similarity)
