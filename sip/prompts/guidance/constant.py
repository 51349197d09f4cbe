"""One guidance scale for all images, as in all systems before SIP."""

from typing import ClassVar

from sip.core.component import Component, component
from sip.core.ranges import NotNegative


@component
class Constant(Component):
    """The same scale whatever the similarity; 1 switches guidance off."""

    needs_similarity: ClassVar[bool] = False

    scale: NotNegative

    def __call__(self, similarity: float | None) -> float:
        """Return the scale."""
        return self.scale
