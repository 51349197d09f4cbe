"""Rejects images that a classifier of the originals confidently assigns to another class.

The classifier is the arm's own control: the same backbone, recipe, seed and originals, without any
augmentation, so it has no information that the arm lacks. Ours; closest in the literature: the
filter by a classifier trained on the real data, as ALIA does (Dunlap et al., NeurIPS 2023, arXiv
2305.16289) with a confidence of its own for each class; here one is set for all.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from sip.core.component import component
from sip.filter.base import DECIMALS, Candidate, Facts, ImageFilter, Verdict, require_finite


@component
class Agreement(ImageFilter):
    """Rejects images whose label a classifier contradicts with confidence.

    Args:
        confidence: An image is rejected if the most probable class is not the label and its
            probability is above this; 0 rejects every contradiction.
    """

    confidence: Annotated[float, Field(ge=0, lt=1)]

    @property
    def reads(self) -> frozenset[str]:
        """Needs the control."""
        return frozenset({"control"})

    @property
    def single(self) -> bool:
        """Each image is judged by itself."""
        return True

    @property
    def gives_probability(self) -> bool:
        """Verdicts have the probability of the label."""
        return True

    def judge(self, images: Sequence[Candidate], facts: Facts) -> list[Verdict]:
        """Compare each image's label with the control's view."""
        paths = [image.path for image in images]
        probabilities = require_finite(facts.control(paths), paths, "probabilities")
        verdicts = []
        for image, row in zip(images, probabilities, strict=True):
            seen, own = int(row.argmax()), round(float(row[image.label]), DECIMALS)
            if seen == image.label or row[seen] <= self.confidence:
                verdicts.append(Verdict(probability=own))
            else:
                detail = f"seen as {facts.class_names[seen]} with {row[seen]:.2f}"
                verdicts.append(Verdict("contradicted", detail, own))
        return verdicts
