"""Leaks between the parts: the same image, or nearly, in train and in val or test.

What a generator was trained on (part `pretrain`) is compared with val and test likewise.

Exact duplicates have the same content hash (`Sample.sha256`). Near ones have perceptual hashes
(`sip.dataset.perceptual`) that differ in `THRESHOLD` bits at most.

The threshold is measured, CIFAR-10's test part (from JPEG files) against its 50,000 of train, by
eye on sheets of 64 pairs: 93 images have a training image within 4 bits, and all are near copies;
163 within 6 bits, about a twentieth of the new ones by chance; 318 within 8 bits, more than half of
the new ones by chance. So it is rarely wrong, but misses some. Of the digits, 8 x 8 px
and all different, 5 of 477 look like copies; with a difference hash (dHash) 271 would at 4 bits.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal, Protocol

import numpy as np

from sip.core.errors import UserError
from sip.core.spill import ByKey, Joined, KeyNumbers, Spilled
from sip.dataset.base import Sample, Split
from sip.dataset.perceptual import BITS, hash_images

THRESHOLD = 4  # bits of 64
PAIRS_AT_ONCE = 4_000_000
NUM_SHOWN = 3  # pairs that a report names
OTHERS: tuple[Split, ...] = ("val", "test")


@dataclass(frozen=True)
class Leak:
    """What one part shares with train, or with what the generator saw.

    Attributes:
        part: "val" or "test".
        known: "train" or "pretrain".
        num: Images of the part.
        exact: How many of them are in `known`, too.
        near: How many more are nearly in it.
        pairs: (image of the part, image of `known`, differing bits), by `sample_id`, in the
            order of the part; 0 bits and the exact ones first.
    """

    part: Split
    known: Split
    num: int
    exact: int
    near: int
    pairs: list[tuple[str, str, int]]

    def line(self) -> str:
        """Return the counts in one line."""
        of = {"train": "training images", "pretrain": "the generator's images (pretrain)"}
        text = f"{self.part}: {self.exact} exact and {self.near} near duplicates of "
        text += f"{of[self.known]}, of {self.num:,}"
        if self.pairs:
            shown = [f"{own} = {other}" for own, other, _ in self.pairs[:NUM_SHOWN]]
            text += f" ({', '.join(shown)}{', ...' if len(self.pairs) > NUM_SHOWN else ''})"
        return text


class FromSource(Protocol):
    """An image generated from a source; a `Prompt` describes one."""

    @property
    def sample_id(self) -> str:
        """Sample id of its source."""

    @property
    def source_sha256(self) -> str:
        """Content hash of its source."""


def find(
    parts: Mapping[Split, Sequence[Sample]],
    num_threads: int,
    part_known: Literal["train", "pretrain"] = "train",
    hashed: Mapping[str, int] | None = None,
) -> list[Leak]:
    """Compare val and test with train.

    Args:
        parts: Samples; images that cannot be read have no near duplicates.
        part_known: Part that val and test are compared with.
        num_threads: Threads that decode; the result does not depend on it.
        hashed: Path -> perceptual hash of images that need not be decoded.
    """
    train = parts[part_known]
    hashes, readable = _hashed(train, num_threads, hashed)
    by_content = KeyNumbers()
    for row, sample in enumerate(train):
        by_content.setdefault(sample.sha256, row)
    known = np.flatnonzero(readable)
    leaks = []
    for part in (part for part in OTHERS if parts.get(part)):
        own, is_readable = _hashed(parts[part], num_threads, hashed)
        nearest, bits = nearest_within(hashes[known], own, THRESHOLD)
        exact, near = [], []
        for row, sample in enumerate(parts[part]):
            if (same := by_content.get(sample.sha256, None)) is not None:
                exact.append((sample.sample_id, train[same].sample_id, 0))
            elif nearest[row] >= 0 and is_readable[row]:
                other = train[known[nearest[row]]].sample_id
                near.append((sample.sample_id, other, int(bits[row])))
        leaks.append(Leak(part, part_known, len(parts[part]), len(exact), len(near), exact + near))
    return leaks


def _hashed(
    samples: Sequence[Sample], num_threads: int, known: Mapping[str, int] | None
) -> tuple[np.ndarray, np.ndarray]:
    return hash_images(Joined(attrgetter("path"), samples), num_threads, known)


def check_sources(generated: Iterable[FromSource], train: Sequence[Sample]) -> None:
    """Check that every image was generated from one of the training part, as it is now.

    Raises:
        UserError: One was not: the classifier would see val or test.
    """
    known = ByKey(
        Joined(attrgetter("sample_id"), train), Spilled(sample.sha256 for sample in train)
    )
    bad = [one.sample_id for one in generated if known.get(one.sample_id) != one.source_sha256]
    if bad:
        raise UserError(
            f"generated images: sources must be in the training part, got {len(bad)} that are not "
            f"in it or have changed, first {bad[0]}; generate them again with the data set of now"
        )


def nearest_within(
    known: np.ndarray, asked: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each of `asked` the row of the nearest of `known`, and the bits that differ.

    Of `most + 1` bands of bits one is the same in two hashes that differ in `most` bits: only pairs
    that share a band are compared, and none is missed.

    Args:
        known, asked: Hashes, (N,) and (M,), uint64.
        most: Bits that may differ.

    Returns:
        Rows, (M,), int64, -1 where none is so near, the first of equals; and bits, (M,), int64.
    """
    values, rows = np.unique(known, return_index=True)
    queries, back = np.unique(asked, return_inverse=True)
    no_match = np.uint64(2**64 - 1)
    best = np.full(len(queries), no_match)  # differing bits << 32 | row: the smallest wins
    edges = np.linspace(0, len(BITS), most + 2).astype(int)
    for low, high in zip(edges, edges[1:], strict=False):
        mask = BITS[low:high].sum(dtype=np.uint64)
        order = np.argsort(values & mask, kind="stable")
        band = (values & mask)[order]
        first = np.searchsorted(band, queries & mask, "left")
        num = np.searchsorted(band, queries & mask, "right") - first
        for part in _slices(num):
            which = np.repeat(np.arange(part.start, part.stop), num[part])
            within = np.arange(len(which)) - np.repeat(np.cumsum(num[part]) - num[part], num[part])
            candidates = order[first[which] + within]
            bits = np.bitwise_count(values[candidates] ^ queries[which]).astype(np.uint64)
            near = bits <= most
            score = bits[near] << np.uint64(32) | rows[candidates[near]].astype(np.uint64)
            np.minimum.at(best, which[near], score)
    is_matched = best != no_match
    nearest = np.where(is_matched, (best & np.uint64(2**32 - 1)).astype(np.int64), -1)
    bits = np.where(is_matched, (best >> np.uint64(32)).astype(np.int64), len(BITS))
    return nearest[back], bits[back]


def _slices(num: np.ndarray) -> list[slice]:
    """Cut queries with `num` candidates each so that few pairs are in memory at a time."""
    groups = np.cumsum(num) // PAIRS_AT_ONCE
    cuts = [0, *(np.flatnonzero(np.diff(groups)) + 1).tolist(), len(num)]
    return [slice(start, stop) for start, stop in zip(cuts, cuts[1:], strict=False)]
