"""No filter: every generated image is used, as in arXiv 2302.02070."""

from collections.abc import Sequence
from typing import ClassVar

from sip.core.component import component
from sip.filter.base import KEPT, Candidate, Facts, ImageFilter, Verdict


@component
class KeepAll(ImageFilter):
    """Keeps all images."""

    filters: ClassVar[bool] = False

    @property
    def reads(self) -> frozenset[str]:
        """Needs no facts."""
        return frozenset()

    @property
    def single(self) -> bool:
        """Nothing is compared."""
        return True

    def judge(self, images: Sequence[Candidate], facts: Facts) -> list[Verdict]:
        """Keep all."""
        return [KEPT] * len(images)
