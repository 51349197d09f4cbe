"""The paper's rule: f(s') = 4 s'^2 + 2 s' + 1.

Source: arXiv 2302.02070, method section. How s' comes from the cosine is not stated there: the
scaling is ours. "clipscore" gives scales in [1, 7]; "raw" about 1.6 to 2.2 for CLIP ViT-B/32.
"""

from sip.prompts.guidance.base import known, number, scaling_function


class Quadratic:
    """a s'^2 + b s' + c."""

    needs_similarity = True

    def __init__(self, a: float, b: float, c: float, scaling: str) -> None:
        self.a, self.b, self.c = number("a", a), number("b", b), number("c", c)
        self.scaling = scaling
        self.scaled = scaling_function(scaling)

    def recipe(self) -> dict:
        """Return everything that decides the scale."""
        return {
            "class": "sip.prompts.guidance.quadratic.Quadratic",
            "version": 1,
            "a": self.a,
            "b": self.b,
            "c": self.c,
            "scaling": self.scaling,
        }

    def __call__(self, similarity: float | None) -> float:
        """Return the guidance scale for a cosine in [-1, 1]."""
        s = self.scaled(known(similarity))
        return self.a * s**2 + self.b * s + self.c
