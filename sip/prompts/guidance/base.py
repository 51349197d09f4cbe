"""What a guidance rule is: from the similarity of image and caption to a guidance scale."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Literal, Protocol, Self

from pydantic import Field

from sip.core.component import Component, refuse

QUANTILES = (0.05, 0.95)  # of the cosines, that "quantile" takes to 0 and 1
DECIMALS = 4  # of a fitted cosine, as of the scores


def clipscore(cosine: float) -> float:
    """Return CLIPScore's scaling, in [0, 1], which uses the whole range of the rule.

    Source: Hessel et al., CLIPScore, EMNLP 2021, section 3 (w = 2.5); capped at 1 by us.
    """
    return min(1.0, 2.5 * max(cosine, 0.0))


def raw(cosine: float) -> float:
    """Return the cosine itself, in [0, 1]."""
    return max(cosine, 0.0)


Scaling = Literal["clipscore", "raw", "quantile"]
SCALINGS: dict[str, Callable[[float], float]] = {"clipscore": clipscore, "raw": raw}
Cosine = Annotated[float, Field(ge=-1, le=1)]
Cosines = Annotated[list[Cosine], Field(min_length=2, max_length=2)] | None


def known(similarity: float | None) -> float:
    """Return the similarity of a rule that needs one.

    Raises:
        ValueError: There is none; a default would look like a measured value.
    """
    if similarity is None:
        raise ValueError("this guidance rule needs the similarity of the caption, got none")
    return similarity


class FromCosine(Component):
    """What the rules share that scale the cosine to s' in [0, 1]; a subclass has both fields.

    `scaling`: "clipscore", made for CLIP's cosines; "raw"; or "quantile" (ours), for any scorer:
    s' rises from 0 at the first of `cosines` to 1 at the second. If these are null, they are the
    5 % and the 95 % quantile of the cosines of a run's originals with their best captions.
    """

    needs_similarity: ClassVar[bool] = True

    scaling: Scaling
    cosines: Cosines

    def __post_init__(self) -> None:
        """Refuse cosines that do not rise, or are not read."""
        if self.cosines is None:
            return
        if self.scaling != "quantile":
            raise refuse("cosines", "null without prompts.guidance.scaling=quantile", self.cosines)
        if self.cosines[0] > self.cosines[1]:
            raise refuse("cosines", "the lower one, then the higher one", self.cosines)

    def scaled(self, similarity: float | None) -> float:
        """Return s' of a cosine."""
        cosine = known(similarity)
        if self.scaling != "quantile":
            return SCALINGS[self.scaling](cosine)
        if self.cosines is None:
            raise ValueError("the scaling quantile needs cosines, or to be fitted to some")
        low, high = self.cosines
        if low == high:
            return 0.5
        return min(1.0, max(0.0, (cosine - low) / (high - low)))

    def fitted(self, similarities: Sequence[float]) -> Self:
        """Return the rule with the cosines that "quantile" lacks, from those of a run."""
        if self.scaling != "quantile" or self.cosines is not None or not similarities:
            return self
        import numpy as np

        values = np.fromiter(similarities, np.float64, len(similarities))
        cosines = np.quantile(values, QUANTILES).round(DECIMALS)
        return replace(self, cosines=cosines.tolist())  # type: ignore[type-var]


class GuidanceRule(Protocol):
    """Gives each image its own guidance scale, from that image only.

    A rule may have a method `fitted` like that of `FromCosine`: the prompts are then written by the
    rule that it returns for the cosines of a run's originals.
    """

    needs_similarity: bool

    def recipe(self) -> dict:
        """Return everything that decides the scale."""

    def __call__(self, similarity: float | None) -> float:
        """Return the guidance scale for a cosine in [-1, 1]; None only if none is needed."""


def fitted(rule: GuidanceRule, similarities: Sequence[float]) -> GuidanceRule:
    """Return a rule fitted to the cosines of a run's originals, or itself if it is not fitted."""
    fit = getattr(rule, "fitted", None)
    found: GuidanceRule = rule if fit is None else fit(similarities)
    return found
