"""Rejects what a classifier of the originals takes for another class, and is sure of it.

The classifier is the arm's own control: the same backbone, recipe, seed and originals, without any
augmentation, so it knows nothing that the arm does not. Ours; nearest in the literature: filtering
by a classifier trained on the real data, as ALIA does (Dunlap et al., NeurIPS 2023, arXiv
2305.16289) with a confidence of its own for each class; here one is set for all.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from sip.core.component import Component, component
from sip.filter.base import KEPT, Candidate, Facts, Verdict, check_number


@component
class Agreement(Component):
    """Rejects confident contradictions.

    Args:
        confidence: In [0, 1): rejected where the most probable class is not the label and its
            probability is above this; 0 rejects every contradiction.

    Raises:
        UserError: It is out of its range.
    """

    filters: ClassVar[bool] = True
    reads: ClassVar[frozenset[str]] = frozenset({"control"})

    confidence: float

    def __post_init__(self) -> None:
        below_one = float(np.nextafter(1.0, 0.0))
        check_number("confidence", self.confidence, 0, below_one, "a probability in [0, 1)")

    def check(self, per_sample: int) -> None:
        """Accept any number of pictures of each original."""

    def judge(self, drawn: Sequence[Candidate], facts: Facts) -> list[Verdict]:
        """Compare each picture's label with the control's view."""
        probabilities = facts.control([one.path for one in drawn])
        verdicts = []
        for one, row in zip(drawn, probabilities, strict=True):
            seen = int(row.argmax())
            if seen == one.label or row[seen] <= self.confidence:
                verdicts.append(KEPT)
            else:
                detail = f"seen as {facts.class_names[seen]} with {row[seen]:.2f}"
                verdicts.append(Verdict("contradicted", detail))
        return verdicts
