"""Which other class each image of an original is to show: chosen by seed, in one of two ways.

`UniformTargets`: the images of an original have different targets, each of the other classes with
the same chance, until all have had their turn. They depend on the original, its image's number and
the classes: the images of 2 shots are among those of 5, and one image of each among two.

`BalancedTargets`: all classes go the same steps around a circle of the classes, which is in random
order. So each class is the target as often as any other if all have the same number of originals,
and the targets of a class differ by one at most. They depend on the other originals of the class.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol

from sip.core.hashing import seed_of
from sip.dataset.base import Sample


class TargetChoice(Protocol):
    """Chooses the classes that images are to show."""

    def of(self, sample: Sample, num: int) -> list[int]:
        """Return the labels of the first `num` images of an original; its own if it is the only."""


class UniformTargets:
    """Targets with the same chance each, original by original.

    Args:
        classes: All labels.
        seed: Generation seed.
    """

    def __init__(self, classes: Sequence[int], seed: int) -> None:
        self.classes, self.seed = sorted(classes), seed

    def of(self, sample: Sample, num: int) -> list[int]:
        """Return the labels of the first `num` images of an original."""
        others = [label for label in self.classes if label != sample.label] or [sample.label]
        return list(islice(_turns(others, self.seed, "target", sample.sha256), num))


class BalancedTargets:
    """Targets that come equally often, over all originals.

    Args:
        classes: All labels.
        seed: Generation seed.
        samples: All originals.
    """

    def __init__(self, classes: Sequence[int], seed: int, samples: Sequence[Sample]) -> None:
        self.circle = sorted(classes, key=lambda label: seed_of(seed, "class", label))
        self.place = {label: place for place, label in enumerate(self.circle)}
        self._steps: list[int] = []  # as many as were asked for
        self._more = _turns(range(1, len(self.circle)) or range(1), seed, "step")
        of_class: dict[int, list[Sample]] = defaultdict(list)
        for sample in sorted(samples, key=lambda s: (seed_of(seed, "rank", s.sha256), s.sample_id)):
            of_class[sample.label].append(sample)
        self.size = {label: len(members) for label, members in of_class.items()}
        self.rank: Mapping[str, int] = {
            sample.sample_id: rank
            for members in of_class.values()
            for rank, sample in enumerate(members)
        }

    def of(self, sample: Sample, num: int) -> list[int]:
        """Return the labels of the first `num` images of an original."""
        size, rank = self.size[sample.label], self.rank[sample.sample_id]
        self._steps += islice(self._more, max(0, size * num - len(self._steps)))
        place = self.place[sample.label]
        steps = self._steps[rank : size * num : size]
        return [self.circle[(place + step) % len(self.circle)] for step in steps]


def _turns(values: Sequence[int], seed: int, *names: str) -> Iterator[int]:
    """Yield all values in random order, then all again in another one, and so on, without end."""
    number, left = 0, list[int]()
    while True:
        left = left or list(values)
        yield left.pop(seed_of(seed, *names, number) % len(left))
        number += 1
