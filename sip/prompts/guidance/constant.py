"""One guidance scale for all pictures, as in all systems before SIP."""

from dataclasses import dataclass
from typing import ClassVar

from sip.core.component import Component
from sip.prompts.guidance.base import number


@dataclass(frozen=True)
class Constant(Component):
    """The same scale whatever the similarity; 1 switches guidance off."""

    needs_similarity: ClassVar[bool] = False

    scale: float

    def __post_init__(self) -> None:
        number("scale", self.scale)

    def __call__(self, similarity: float | None) -> float:
        """Return the scale."""
        return self.scale
