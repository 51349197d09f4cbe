"""Leaks between the parts: the same image, or nearly, in train and in val or test.

What a generator was trained on (part `pretrain`) is compared with val and test likewise.

Exact duplicates have the same content hash (`Sample.sha256`). Near ones have perceptual hashes
that differ in `THRESHOLD` bits at most: 64 signs of the lowest 8 x 8 coefficients of the discrete
cosine transform (DCT-II) of the image as 32 x 32 grey, against their median, the constant one
taken as 0; the hash known as pHash (Zauner, Implementation and Benchmarking of Perceptual Image
Hash Functions, 2010). It sees scaling, recompression and changed colours; no mirroring, no crops.

The threshold is measured, CIFAR-10's test part (from JPEG files) against its 50,000 of train, by
eye on sheets of 64 pairs: 93 images have a training image within 4 bits, and all are near copies;
163 within 6 bits, about a twentieth of the new ones by chance; 318 within 8 bits, more than half of
the new ones by chance. So it is rarely wrong, but misses some. Of the digits, 8 x 8 px
and all different, 5 of 477 look like copies; with a difference hash (dHash) 271 would at 4 bits.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from PIL import Image, ImageOps

from sip.core.errors import UserError
from sip.core.image_io import opened, read_rgb
from sip.core.progress import progress
from sip.core.tars import split_reference
from sip.dataset.base import Sample, Split
from sip.dataset.files import BAR_FROM

THRESHOLD = 4  # bits of 64
SIDE, KEPT = 32, 8  # of the grey image in px, of the block of coefficients
IMAGES_AT_ONCE = 2048
PAIRS_AT_ONCE = 4_000_000
NUM_SHOWN = 3  # pairs that a report names
OTHERS: tuple[Split, ...] = ("val", "test")

BITS = np.uint64(1) << np.arange(KEPT * KEPT, dtype=np.uint64)
COSINES = np.cos(np.pi / SIDE * np.outer(np.arange(KEPT), np.arange(SIDE) + 0.5))  # (8, 32)


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
) -> list[Leak]:
    """Compare val and test with train.

    Args:
        parts: Samples; images that cannot be read have no near duplicates.
        part_known: Part that val and test are compared with.
        num_threads: Threads that decode; the result does not depend on it.
    """
    others = [part for part in OTHERS if parts.get(part)]
    samples = [sample for part in (part_known, *others) for sample in parts[part]]
    hashes, readable = hash_images([sample.path for sample in samples], num_threads)
    train, start = parts[part_known], len(parts[part_known])
    by_content = {sample.sha256: sample.sample_id for sample in reversed(train)}
    known = np.flatnonzero(readable[:start])
    leaks = []
    for part in others:
        end = start + len(parts[part])
        nearest, bits = nearest_within(hashes[known], hashes[start:end], THRESHOLD)
        exact, near = [], []
        for row, sample in enumerate(parts[part]):
            if sample.sha256 in by_content:
                exact.append((sample.sample_id, by_content[sample.sha256], 0))
            elif nearest[row] >= 0 and readable[start + row]:
                other = train[known[nearest[row]]].sample_id
                near.append((sample.sample_id, other, int(bits[row])))
        leaks.append(Leak(part, part_known, len(parts[part]), len(exact), len(near), exact + near))
        start = end
    return leaks


def check_sources(generated: Iterable[FromSource], train: Sequence[Sample]) -> None:
    """Check that every image was generated from one of the training part, as it is now.

    Raises:
        UserError: One was not: the classifier would see val or test.
    """
    known = {(sample.sample_id, sample.sha256) for sample in train}
    bad = [one.sample_id for one in generated if (one.sample_id, one.source_sha256) not in known]
    if bad:
        raise UserError(
            f"generated images: sources must be in the training part, got {len(bad)} that are not "
            f"in it or have changed, first {bad[0]}; generate them again with the data set of now"
        )


def hash_images(paths: Sequence[str], num_threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the perceptual hashes, (N,), uint64, and which images could be read, (N,), bool."""
    hashes, readable = np.zeros(len(paths), np.uint64), np.zeros(len(paths), bool)
    bar = progress("leaks", len(paths), "image") if len(paths) >= BAR_FROM else None
    with ThreadPoolExecutor(num_threads) as threads:
        for start in range(0, len(paths), IMAGES_AT_ONCE):
            grey = list(threads.map(read_grey, paths[start : start + IMAGES_AT_ONCE]))
            rows = [start + row for row, pixels in enumerate(grey) if pixels is not None]
            if rows:
                hashes[rows] = perceptual([pixels for pixels in grey if pixels is not None])
                readable[rows] = True
            if bar is not None:
                bar.update(len(grey))
    if bar is not None:
        bar.close()
    return hashes, readable


def read_grey(path: str) -> np.ndarray | None:
    """Return an image as grey (32, 32), uint8; None if it cannot be read."""
    try:
        image = _draft(path)
    except Exception:  # the stage that needs the image says why
        return None
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))


def _draft(path: str) -> Image.Image:
    """Return an image as grey; a JPEG file no larger than need be, several times as fast."""
    if split_reference(path) is None:
        with opened(path) as image:
            if image.format == "JPEG":
                image.draft("L", (2 * SIDE, 2 * SIDE))
                return ImageOps.exif_transpose(image).convert("L")
    return read_rgb(path, None).convert("L")


def perceptual(grey: Sequence[np.ndarray]) -> np.ndarray:
    """Return the hashes, (N,), uint64, of grey images (32, 32)."""
    waves = (COSINES @ np.stack(grey).astype(np.float64) @ COSINES.T).reshape(-1, len(BITS))
    waves = np.round(waves, 3)  # an even image has zeros, not the noise of the sums
    waves[:, 0] = 0
    signs = waves > np.median(waves, axis=1, keepdims=True)
    hashes: np.ndarray = (signs * BITS).sum(axis=1, dtype=np.uint64)
    return hashes


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
