"""How many images of each class a ladder of noise rates tried and accepted, rate by rate."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from sip.core.text import counted
from sip.filter.base import Verdict
from sip.prompts.base import Prompt

# The rungs of an image that were generated, each with its verdict; None: it failed.
Tried = list[tuple[Prompt, Verdict | None]]


def is_accepted(verdict: Verdict | None) -> bool:
    """Return whether an image did not fail and was not rejected."""
    return verdict is not None and verdict.reason is None


@dataclass(frozen=True)
class RungCounts:
    """Images of a class at a noise rate."""

    class_name: str
    noise_rate: float
    tried: int
    accepted: int


@dataclass(frozen=True)
class LadderCounts:
    """What became of the images of a prompt list.

    Attributes:
        rungs: By class, in the order of the labels, then by falling noise rate.
        left_out: Class in words -> images that no rate was accepted for; only classes with some.
        starts: Class in words -> learned noise rate at which its other originals started; only
            classes that have others.
    """

    rungs: tuple[RungCounts, ...]
    left_out: Mapping[str, int]
    starts: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, images: Sequence[Tried], starts: Mapping[str, float]) -> Self:
        """Count the rungs of each image.

        Args:
            images: Their rungs.
            starts: As in the attribute.
        """
        tried: Counter[tuple[int, str, float]] = Counter()
        accepted: Counter[tuple[int, str, float]] = Counter()
        left_out: Counter[tuple[int, str]] = Counter()
        for rungs in images:
            for prompt, verdict in rungs:
                place = (prompt.label, prompt.class_name, prompt.noise_rate)
                tried[place] += 1
                accepted[place] += is_accepted(verdict)
            left_out[place[:2]] += not is_accepted(verdict)
        order = sorted(tried, key=lambda place: (place[:2], -place[2]))
        return cls(
            tuple(RungCounts(place[1], place[2], tried[place], accepted[place]) for place in order),
            {name: num for (_, name), num in sorted(left_out.items()) if num},
            starts,
        )

    @property
    def by_rate(self) -> dict[float, tuple[int, int]]:
        """Noise rate, falling -> images tried and accepted, of all classes."""
        rates = sorted({rung.noise_rate for rung in self.rungs}, reverse=True)
        return {
            rate: (
                sum(rung.tried for rung in self.rungs if rung.noise_rate == rate),
                sum(rung.accepted for rung in self.rungs if rung.noise_rate == rate),
            )
            for rate in rates
        }

    @property
    def has_rejected(self) -> bool:
        """Whether an image was generated at more than one rate, or left out."""
        return any(rung.accepted < rung.tried for rung in self.rungs)

    def line(self) -> str:
        """Return the counts in one line; it says so if the ladder changed nothing."""
        parts = [f"{num:,} of {of:,} at {rate:g}" for rate, (of, num) in self.by_rate.items()]
        line = f"{', '.join(parts)}; {sum(self.left_out.values()):,} left out"
        if len(self.by_rate) == 1 and not self.has_rejected:
            (rate,) = self.by_rate
            line += (
                f" (these are the images of augmentation=sip prompts.noise_rate={rate:g} "
                "with the same prompts.vary_captions)"
            )
        if self.starts:
            starts = Counter(self.starts.values())
            parts = [
                f"{rate:g} ({counted(num, 'class', 'classes')})"
                for rate, num in sorted(starts.items(), reverse=True)
            ]
            line += f"; learned starts: {', '.join(parts)}"
        return line
