"""A straight line over the same range as the paper's rule: ours, to tell shape from range."""

from sip.prompts.guidance.base import known, number, scaling_function


class Linear:
    """From `low` at s' = 0 to `high` at s' = 1."""

    needs_similarity = True

    def __init__(self, low: float, high: float, scaling: str) -> None:
        self.low, self.high = number("low", low), number("high", high)
        self.scaling = scaling
        self.scaled = scaling_function(scaling)

    def recipe(self) -> dict:
        """Return everything that decides the scale."""
        return {
            "class": "sip.prompts.guidance.linear.Linear",
            "version": 1,
            "low": self.low,
            "high": self.high,
            "scaling": self.scaling,
        }

    def __call__(self, similarity: float | None) -> float:
        """Return the guidance scale for a cosine in [-1, 1]."""
        return self.low + (self.high - self.low) * self.scaled(known(similarity))
