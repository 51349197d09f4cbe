"""How many images each original gets so that small classes catch up with the largest one."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence, ValuesView
from itertools import repeat

from sip.dataset.base import Sample


class Equal(Mapping[str, int]):
    """The same number of images for each original, in no memory."""

    def __init__(self, samples: Sequence[Sample], num: int) -> None:
        self._samples, self.num = samples, num

    def __getitem__(self, sample_id: str) -> int:
        return self.num

    def values(self) -> ValuesView[int]:
        """Return the numbers; no original is read for them."""
        return _SameValues(self)

    def __iter__(self) -> Iterator[str]:
        return (sample.sample_id for sample in self._samples)

    def __len__(self) -> int:
        return len(self._samples)


class _SameValues(ValuesView[int]):
    _mapping: Equal

    def __iter__(self) -> Iterator[int]:
        return repeat(self._mapping.num, len(self._mapping))


def balanced(
    samples: Sequence[Sample], per_sample: int, max_per_sample: int | None
) -> dict[str, int]:
    """Return sample_id -> number of images to generate from it.

    Each class gets `per_sample` times the size of the largest class, spread evenly over its
    originals; the first ones of a class get one more if that does not divide.

    Args:
        samples: The originals.
        per_sample: Images of each original of the largest class.
        max_per_sample: Images of each original at most; a class that needs more stays smaller.
            None sets no bound.
    """
    sizes = Counter(sample.label for sample in samples)
    target = per_sample * max(sizes.values(), default=0)
    seen: Counter[int] = Counter()
    counts = {}
    for sample in samples:
        each, more = divmod(target, sizes[sample.label])
        num = each + (seen[sample.label] < more)
        seen[sample.label] += 1
        counts[sample.sample_id] = num if max_per_sample is None else min(num, max_per_sample)
    return counts


def describe(samples: Sequence[Sample], counts: Mapping[str, int]) -> str:
    """Return in a few words how many images each class and each original gets."""
    of_class: Counter[int] = Counter()
    for sample in samples:
        of_class[sample.label] += counts[sample.sample_id]
    classes, originals = _range(of_class.values()), _range(counts.values())
    return f"{classes} images of each class, {originals} of each original"


def _range(numbers: Collection[int]) -> str:
    low, high = min(numbers, default=0), max(numbers, default=0)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
