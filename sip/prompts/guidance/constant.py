"""One guidance scale for all pictures, as in all systems before SIP."""

from sip.prompts.guidance.base import number


class Constant:
    """The same scale whatever the similarity; 1 switches guidance off."""

    needs_similarity = False

    def __init__(self, scale: float) -> None:
        self.scale = number("scale", scale)

    def recipe(self) -> dict:
        """Return everything that decides the scale."""
        return {
            "class": "sip.prompts.guidance.constant.Constant",
            "version": 1,
            "scale": self.scale,
        }

    def __call__(self, similarity: float | None) -> float:
        """Return the scale."""
        return self.scale
