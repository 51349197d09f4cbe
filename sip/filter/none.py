"""No filter: every drawn picture is used, as in arXiv 2302.02070."""

from collections.abc import Sequence
from typing import ClassVar

from sip.core.component import Component, component
from sip.filter.base import KEPT, Candidate, Facts, Verdict


@component
class KeepAll(Component):
    """Rejects nothing."""

    filters: ClassVar[bool] = False
    reads: ClassVar[frozenset[str]] = frozenset()

    def check(self, per_sample: int) -> None:
        """Accept any number of pictures of each original."""

    def judge(self, drawn: Sequence[Candidate], facts: Facts) -> list[Verdict]:
        """Keep all."""
        return [KEPT] * len(drawn)
