"""Rejects copies: of the image's own original, or of another generated image that is kept.

Near copies have perceptual hashes (`sip.dataset.perceptual`; `sip.dataset.leaks` says what 4 bits
mean) that differ in few bits or, if requested, unit vectors of the scorer that are close. Hashes
see the layout, vectors the content. The hash by itself cannot tell apart images of few pixels or
of one motif, such as the digits.
"""

from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from sip.core.component import component
from sip.dataset.perceptual import hash_images
from sip.filter.base import KEPT, Candidate, Facts, ImageFilter, Verdict

BLOCK = 256  # images that are compared with all kept ones at a time
Near = Callable[[Sequence[int], Sequence[int]], np.ndarray]  # rows, others -> (rows, others), bool


@component
class Duplicate(ImageFilter):
    """Rejects exact and near copies; the first of several similar images is kept.

    Args:
        bits: Bits of 64 in which the hashes of two copies differ at most; None: no hashes.
        cosine: Two images with a cosine above it are copies; None: no vectors.
    """

    bits: Annotated[int, Field(ge=0, lt=64)] | None
    cosine: Annotated[float, Field(ge=-1, le=1)] | None

    @property
    def reads(self) -> frozenset[str]:
        """Needs embeddings only if it compares them."""
        return frozenset() if self.cosine is None else frozenset({"embeddings"})

    def judge(self, images: Sequence[Candidate], facts: Facts) -> list[Verdict]:
        """Compare each image with its original, then with all that are kept before it."""
        near = self._near(images, facts)
        num = len(images)
        verdicts = [KEPT] * num
        rest = []
        for row in range(num):  # the originals follow the images
            if near([row], [num + row])[0, 0]:
                verdicts[row] = Verdict("copy of its original", f"of {images[row].sample_id}")
            else:
                rest.append(row)
        for row, other in copies(rest, near).items():
            detail = f"of one from {images[other].sample_id}"
            verdicts[row] = Verdict("copy of another", detail)
        return verdicts

    def _near(self, images: Sequence[Candidate], facts: Facts) -> Near:
        """Return what compares two lists of rows; those from len(images) on are the originals."""
        keys = [one.sha256 for one in images] + [one.source_sha256 for one in images]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        content = np.array([numbers[key] for key in keys])
        paths = dict(zip(keys, [i.path for i in images] + [i.source for i in images], strict=True))
        hashes = readable = vectors = None
        if self.bits is not None:
            hashes, readable = hash_images([paths[key] for key in numbers], facts.num_threads)
        if self.cosine is not None:
            vectors = self.vectors(list(numbers), facts)

        def near(rows: Sequence[int], others: Sequence[int]) -> np.ndarray:
            left, right = content[list(rows)], content[list(others)]
            alike: np.ndarray = left[:, None] == right[None]
            if hashes is not None and readable is not None:
                few = np.bitwise_count(hashes[left][:, None] ^ hashes[right][None]) <= self.bits
                alike |= few & readable[left][:, None] & readable[right][None]
            if vectors is not None:
                alike |= vectors[left] @ vectors[right].T > self.cosine
            return alike

        return near


def copies(rows: Sequence[int], near: Near) -> dict[int, int]:
    """Return row -> the first kept row that it copies; a row without any before it is kept.

    Every row is compared with all kept ones.
    """
    kept: list[int] = []
    found: dict[int, int] = {}
    for start in range(0, len(rows), BLOCK):
        block = list(rows[start : start + BLOCK])
        before, within = near(block, kept), near(block, block)
        new: list[int] = []  # positions in the block
        for position, row in enumerate(block):
            if (hits := np.flatnonzero(before[position])).size:
                found[row] = kept[hits[0]]
            elif inside := [other for other in new if within[position, other]]:
                found[row] = block[inside[0]]
            else:
                new.append(position)
        kept += [block[position] for position in new]
    return found
