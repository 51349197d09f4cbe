"""Keeps the drawn pictures that look most like their label: the cosine with the label's prompt.

Filtering by CLIP's zero-shot similarity is common in this field (He et al., ICLR 2023, arXiv
2210.07574, keep what CLIP is sure of; Schuhmann et al., LAION-400M, arXiv 2111.02114,
keep cosines above 0.3). The share per class is ours: cosines of one class are not those of another,
so a single threshold takes more from some classes than from others.
"""

import math
from collections.abc import Sequence

from sip.core.errors import UserError
from sip.filter.base import (
    DECIMALS,
    KEPT,
    Candidate,
    Facts,
    Verdict,
    check_number,
    check_template,
)

ROUNDING = 1e-9  # 0.7 of 10 are 7


class Similarity:
    """Keeps what is above a threshold, or the best share of each class.

    Args:
        keep: Share of each class's pictures that is kept, in (0, 1], rounded up, so that no class
            is left without; of equals the first ones of the drawing list. Or None.
        threshold: Cosine in [-1, 1]; what is below it is rejected. Or None: exactly one is set.
        template: A class's prompt, with the field `{label}`.

    Raises:
        UserError: Both or neither are set, or a value is out of its range.
    """

    filters = True
    reads = frozenset({"embeddings"})

    def __init__(self, keep: float | None, threshold: float | None, template: str) -> None:
        if (keep is None) == (threshold is None):
            raise UserError(
                "filter=similarity: expected one of filter.keep (best share per class) and "
                f"filter.threshold (cosine), came keep={keep} and threshold={threshold}; set the "
                "other to null"
            )
        if keep is not None:
            keep = check_number("keep", keep, 1e-6, 1, "a share in (0, 1]")
        if threshold is not None:
            threshold = check_number("threshold", threshold, -1, 1, "a cosine in [-1, 1]")
        self.keep, self.threshold = keep, threshold
        self.template = check_template(template)

    def recipe(self) -> dict:
        """Return everything that decides the verdicts, but what it reads."""
        return {
            "class": "sip.filter.similarity.Similarity",
            "version": 1,
            "keep": self.keep,
            "threshold": self.threshold,
            "template": self.template,
        }

    def check(self, per_sample: int) -> None:
        """Accept any number of pictures of each original."""

    def judge(self, drawn: Sequence[Candidate], facts: Facts) -> list[Verdict]:
        """Compare each picture with its label's prompt."""
        labels = list(dict.fromkeys(one.class_name for one in drawn))
        texts = facts.texts([self.template.format(label=label) for label in labels])
        rows = [labels.index(one.class_name) for one in drawn]
        pictures = facts.embeddings([one.sha256 for one in drawn])
        cosines = [round(float(value), DECIMALS) for value in (pictures * texts[rows]).sum(1)]
        if self.threshold is not None:
            reason, least = "below the threshold", f"below {self.threshold:g}"
            kept = {row for row, cosine in enumerate(cosines) if cosine >= self.threshold}
        else:
            reason, least = "not in its class's best", f"not in the best {self.keep:.0%}"
            kept = self._best(drawn, cosines)
        return [
            KEPT if row in kept else Verdict(reason, f"{cosine:.3f} to its label, {least}")
            for row, cosine in enumerate(cosines)
        ]

    def _best(self, drawn: Sequence[Candidate], cosines: Sequence[float]) -> set[int]:
        assert self.keep is not None
        by_class: dict[int, list[int]] = {}
        for row, one in enumerate(drawn):
            by_class.setdefault(one.label, []).append(row)
        kept: set[int] = set()
        for rows in by_class.values():
            num = math.ceil(self.keep * len(rows) - ROUNDING)
            kept.update(sorted(rows, key=lambda row: -cosines[row])[:num])
        return kept
