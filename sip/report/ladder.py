"""Acceptance at each noise rate and class, of arms that look for it on a ladder."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sip.report.results import Arm


@dataclass(frozen=True)
class ClassLadder:
    """The images of a class, over all seeds of an arm.

    Attributes:
        name: Class in words.
        counts: Noise rate -> images tried and accepted.
        left_out: Images that no rate was accepted for.
        starts: Learned starts of the class, the highest first; empty if all start at the top.
    """

    name: str
    counts: dict[float, tuple[int, int]]
    left_out: int
    starts: tuple[float, ...] = ()

    @property
    def shares(self) -> list[tuple[str, float, float]]:
        """Where an image ended, its start and its width in % of the class's images."""
        ends = [(f"{rate:g}", accepted) for rate, (_, accepted) in self.counts.items()]
        ends.append(("left out", self.left_out))
        total = sum(num for _, num in ends)
        shares, start = [], 0.0
        for name, num in ends:
            width = 100 * num / total if total else 0.0
            shares.append((name, start, width))
            start += width
        return shares


def ladders(arm: Arm) -> list[ClassLadder]:
    """Return the classes of an arm; [] if its images have no ladder."""
    tried: Counter[tuple[str, float]] = Counter()
    accepted: Counter[tuple[str, float]] = Counter()
    left_out: Counter[str] = Counter()
    starts: dict[str, set[float]] = defaultdict(set)
    for run in arm.runs.values():
        counts = run.record.summary.ladder
        if counts is None:
            continue
        left_out.update(counts.left_out)
        for name, rate in counts.starts.items():
            starts[name].add(rate)
        for rung in counts.rungs:
            tried[rung.class_name, rung.noise_rate] += rung.tried
            accepted[rung.class_name, rung.noise_rate] += rung.accepted
    rates = sorted({rate for _, rate in tried}, reverse=True)
    return [
        ClassLadder(
            name,
            {rate: (tried[name, rate], accepted[name, rate]) for rate in rates},
            left_out[name],
            tuple(sorted(starts[name], reverse=True)),
        )
        for name in dict.fromkeys(name for name, _ in tried)
    ]


def rates_of(classes: Sequence[ClassLadder]) -> list[float]:
    """Return the noise rates of a ladder, falling."""
    return list(classes[0].counts) if classes else []
