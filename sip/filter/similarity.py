"""Keeps the generated images that look most like their label: the cosine with its prompt.

Filtering by CLIP's zero-shot similarity is common in this field (He et al., ICLR 2023, arXiv
2210.07574, keep what CLIP is sure of; Schuhmann et al., LAION-400M, arXiv 2111.02114,
keep cosines above 0.3). The share per class is ours: cosines of one class are not those of another,
so a single threshold takes more from some classes than from others.
"""

import math
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from sip.core.component import component, refuse
from sip.core.ranges import Rate
from sip.filter.base import DECIMALS, KEPT, Candidate, Facts, LabelFilter, Verdict

ROUNDING = 1e-9  # 0.7 of 10 are 7


@component
class Similarity(LabelFilter):
    """Keeps what is above a threshold, or the best share of each class.

    Args:
        keep: Share of each class's images that is kept, rounded up, so that no class is left
            without; of equals the first ones of the prompt list. Or None.
        threshold: Cosine; what is below it is rejected. Or None: exactly one of the two is set.
    """

    keep: Rate | None
    threshold: Annotated[float, Field(ge=-1, le=1)] | None

    def __post_init__(self) -> None:
        """Refuse both or neither of share and threshold."""
        super().__post_init__()
        if (self.keep is None) == (self.threshold is None):
            rule = f"set if and only if filter.threshold, now {self.threshold}, is null"
            raise refuse("keep", rule, self.keep, "set one of them to null, the other to a number")

    @property
    def single(self) -> bool:
        """A threshold is the same for all; a share compares the images of a class."""
        return self.threshold is not None

    def judge(self, images: Sequence[Candidate], facts: Facts) -> list[Verdict]:
        """Compare each image with its label's prompt."""
        names = list(dict.fromkeys(image.class_name for image in images))
        row_of = {name: row for row, name in enumerate(names)}
        texts = facts.texts(self.prompts(names))
        rows = [row_of[image.class_name] for image in images]
        vectors = self.vectors([image.sha256 for image in images], facts)
        cosines = [round(float(value), DECIMALS) for value in (vectors * texts[rows]).sum(1)]
        if self.threshold is not None:
            reason, least = "below the threshold", f"below {self.threshold:g}"
            kept = {row for row, cosine in enumerate(cosines) if cosine >= self.threshold}
        else:
            reason, least = "not in its class's best", f"not in the best {self.keep:.0%}"
            kept = self._best(images, cosines)
        return [
            KEPT if row in kept else Verdict(reason, f"{cosine:.3f} to its label, {least}")
            for row, cosine in enumerate(cosines)
        ]

    def _best(self, images: Sequence[Candidate], cosines: Sequence[float]) -> set[int]:
        assert self.keep is not None
        by_class: dict[int, list[int]] = {}
        for row, image in enumerate(images):
            by_class.setdefault(image.label, []).append(row)
        kept: set[int] = set()
        for rows in by_class.values():
            num = math.ceil(self.keep * len(rows) - ROUNDING)
            kept.update(sorted(rows, key=lambda row: -cosines[row])[:num])
        return kept
