"""No filter: every drawn picture is used, as in arXiv 2302.02070."""

from collections.abc import Sequence

from sip.filter.base import KEPT, Candidate, Facts, Verdict


class KeepAll:
    """Rejects nothing."""

    filters = False
    reads: frozenset[str] = frozenset()

    def recipe(self) -> dict:
        """Return the name: there is nothing to decide."""
        return {"class": "sip.filter.none.KeepAll", "version": 1}

    def check(self, per_sample: int) -> None:
        """Accept any number of pictures of each original."""

    def judge(self, drawn: Sequence[Candidate], facts: Facts) -> list[Verdict]:
        """Keep all."""
        return [KEPT] * len(drawn)
