"""Perceptual hashes: images that look alike have hashes that differ in few bits.

They are 64 signs of the lowest 8 x 8 coefficients of the discrete cosine transform (DCT-II) of the
image as 32 x 32 grey, against their median, the constant one taken as 0; the hash known as pHash
(Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010). It sees scaling,
recompression and changed colours; no mirroring, no crops.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np

from sip.core.image_io import SMALL, look_at
from sip.core.progress import progress
from sip.dataset.files import BAR_FROM

KEPT = 8  # side of the block of coefficients
IMAGES_AT_ONCE = 2048

BITS = np.uint64(1) << np.arange(KEPT * KEPT, dtype=np.uint64)
COSINES = np.cos(np.pi / SMALL * np.outer(np.arange(KEPT), np.arange(SMALL) + 0.5))  # (8, 32)


def hash_images(
    paths: Sequence[str], num_threads: int, known: Mapping[str, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the perceptual hashes, (N,), uint64, and which images could be read, (N,), bool.

    Args:
        paths: Image files; a few of them are in memory at a time.
        num_threads: Threads that decode.
        known: Path -> hash of images that need not be decoded.
    """
    known = known or {}
    num = len(paths) - (sum(path in known for path in paths) if known else 0)
    bar = progress("leaks", num, "image") if num >= BAR_FROM else None
    hashes, readable = np.zeros(len(paths), np.uint64), np.zeros(len(paths), bool)
    start, remaining = 0, iter(paths)
    with ThreadPoolExecutor(num_threads) as threads:
        while part := list(islice(remaining, IMAGES_AT_ONCE)):
            end = start + len(part)
            hashes[start:end] = [known.get(path, 0) for path in part]
            readable[start:end] = [path in known for path in part]
            unknown = [row for row in range(start, end) if not readable[row]]
            grey = list(threads.map(read_grey, (part[row - start] for row in unknown)))
            rows = [row for row, pixels in zip(unknown, grey, strict=True) if pixels is not None]
            if rows:
                hashes[rows] = perceptual([pixels for pixels in grey if pixels is not None])
                readable[rows] = True
            if bar is not None:
                bar.update(len(grey))
            start = end
    if bar is not None:
        bar.close()
    return hashes, readable


def read_grey(path: str) -> np.ndarray | None:
    """Return an image as grey (32, 32), uint8; None if it cannot be read."""
    return look_at(path).grey


def perceptual(grey: Sequence[np.ndarray]) -> np.ndarray:
    """Return the hashes, (N,), uint64, of grey images (32, 32)."""
    waves = (COSINES @ np.stack(grey).astype(np.float64) @ COSINES.T).reshape(-1, len(BITS))
    waves = np.round(waves, 3)  # an even image has zeros, not the noise of the sums
    waves[:, 0] = 0
    signs = waves > np.median(waves, axis=1, keepdims=True)
    hashes: np.ndarray = (signs * BITS).sum(axis=1, dtype=np.uint64)
    return hashes
