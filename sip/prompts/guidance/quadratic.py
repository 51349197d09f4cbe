"""The paper's rule: f(s') = 4 s'^2 + 2 s' + 1.

Source: arXiv 2302.02070, method section. How s' follows from the cosine is not stated there: the
scaling is ours. "clipscore" and "quantile" give scales in [1, 7]; "raw" about 1.6 to 2.2 for CLIP
ViT-B/32.
"""

from sip.core.component import added, component
from sip.prompts.guidance.base import Cosines, FromCosine, Scaling


@component
class Quadratic(FromCosine):
    """a s'^2 + b s' + c, with s' by `FromCosine`."""

    a: float
    b: float
    c: float
    scaling: Scaling
    cosines: Cosines = added(neutral=None)

    def __call__(self, similarity: float | None) -> float:
        """Return the guidance scale for a cosine in [-1, 1]."""
        s = self.scaled(similarity)
        return self.a * s**2 + self.b * s + self.c
