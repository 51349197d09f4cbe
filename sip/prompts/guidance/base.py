"""What a guidance rule is: from the similarity of picture and caption to a guidance scale."""

import math
from collections.abc import Callable
from typing import Protocol

from sip.core.errors import UserError


def clipscore(cosine: float) -> float:
    """Return CLIPScore's scaling, in [0, 1], which uses the whole range of the rule.

    Source: Hessel et al., CLIPScore, EMNLP 2021, section 3 (w = 2.5); capped at 1 by us.
    """
    return min(1.0, 2.5 * max(cosine, 0.0))


def raw(cosine: float) -> float:
    """Return the cosine itself, in [0, 1]."""
    return max(cosine, 0.0)


SCALINGS: dict[str, Callable[[float], float]] = {"clipscore": clipscore, "raw": raw}


def scaling_function(name: str) -> Callable[[float], float]:
    """Return the function cosine -> s' in [0, 1] of that name.

    Raises:
        UserError: There is none; lists the known ones.
    """
    if name not in SCALINGS:
        raise UserError(
            f"prompts.guidance.scaling: expected one of {', '.join(SCALINGS)}, came {name!r}"
        )
    return SCALINGS[name]


def number(key: str, value: float) -> float:
    """Return the value of `prompts.guidance.<key>`, as it is.

    Raises:
        UserError: It is not a number.
    """
    if type(value) not in (int, float) or not math.isfinite(value):
        raise UserError(f"prompts.guidance.{key}: expected a number, came {value!r}")
    return value


def known(similarity: float | None) -> float:
    """Return the similarity of a rule that needs one.

    Raises:
        ValueError: There is none. A made-up value would pass for a measured one.
    """
    if similarity is None:
        raise ValueError("this guidance rule needs the similarity of the caption, and came without")
    return similarity


class GuidanceRule(Protocol):
    """Gives each picture its own guidance scale, from that picture alone."""

    needs_similarity: bool

    def recipe(self) -> dict:
        """Return everything that decides the scale."""

    def __call__(self, similarity: float | None) -> float:
        """Return the guidance scale for a cosine in [-1, 1]; None only if none is needed."""
