"""The paper's rule: f(s') = 4 s'^2 + 2 s' + 1.

Source: arXiv 2302.02070, method section. How s' follows from the cosine is not stated there: the
scaling is ours. "clipscore" gives scales in [1, 7]; "raw" about 1.6 to 2.2 for CLIP ViT-B/32.
"""

from typing import ClassVar

from sip.core.component import Component, component
from sip.prompts.guidance.base import SCALINGS, Scaling, known


@component
class Quadratic(Component):
    """a s'^2 + b s' + c."""

    needs_similarity: ClassVar[bool] = True

    a: float
    b: float
    c: float
    scaling: Scaling

    def __call__(self, similarity: float | None) -> float:
        """Return the guidance scale for a cosine in [-1, 1]."""
        s = SCALINGS[self.scaling](known(similarity))
        return self.a * s**2 + self.b * s + self.c
