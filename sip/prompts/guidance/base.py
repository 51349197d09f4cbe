"""What a guidance rule is: from the similarity of image and caption to a guidance scale."""

from collections.abc import Callable
from typing import Literal, Protocol


def clipscore(cosine: float) -> float:
    """Return CLIPScore's scaling, in [0, 1], which uses the whole range of the rule.

    Source: Hessel et al., CLIPScore, EMNLP 2021, section 3 (w = 2.5); capped at 1 by us.
    """
    return min(1.0, 2.5 * max(cosine, 0.0))


def raw(cosine: float) -> float:
    """Return the cosine itself, in [0, 1]."""
    return max(cosine, 0.0)


Scaling = Literal["clipscore", "raw"]
SCALINGS: dict[str, Callable[[float], float]] = {"clipscore": clipscore, "raw": raw}


def known(similarity: float | None) -> float:
    """Return the similarity of a rule that needs one.

    Raises:
        ValueError: There is none; a default would look like a measured value.
    """
    if similarity is None:
        raise ValueError("this guidance rule needs the similarity of the caption, got none")
    return similarity


class GuidanceRule(Protocol):
    """Gives each image its own guidance scale, from that image only."""

    needs_similarity: bool

    def recipe(self) -> dict:
        """Return everything that decides the scale."""

    def __call__(self, similarity: float | None) -> float:
        """Return the guidance scale for a cosine in [-1, 1]; None only if none is needed."""
