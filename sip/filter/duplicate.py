"""Rejects copies: of the picture's own original, or of another drawn picture that is kept.

Near copies have perceptual hashes (`sip.dataset.leaks`: pHash, and what its threshold of 4 bits
means) that differ in few bits or, if asked for, unit vectors of the scorer that are close. Hashes
see the layout, vectors what is in the picture. The hash alone does not tell pictures of few pixels
or one motif apart, such as the digits'.
"""

from collections.abc import Callable, Sequence

import numpy as np

from sip.core.errors import UserError
from sip.dataset.leaks import hash_pictures
from sip.filter.base import KEPT, Candidate, Facts, Verdict, check_number

BLOCK = 256  # pictures that are compared with all kept ones at a time
Near = Callable[[Sequence[int], Sequence[int]], np.ndarray]  # rows, others -> (rows, others), bool


class Duplicate:
    """Rejects exact and near copies; of several pictures that are alike the first is kept.

    Args:
        bits: Bits of 64 in which the hashes of two copies differ at most; None: no hashes.
        cosine: Two pictures with a cosine above it are copies; None: no vectors.

    Raises:
        UserError: A value is out of its range.
    """

    filters = True

    def __init__(self, bits: int | None, cosine: float | None) -> None:
        if bits is not None and (type(bits) is not int or not 0 <= bits < 64):
            raise UserError(f"filter.bits: expected null or a number of 0 to 63, came {bits!r}")
        if cosine is not None:
            cosine = check_number("cosine", cosine, -1, 1, "null or a cosine in [-1, 1]")
        self.bits, self.cosine = bits, cosine
        self.reads = frozenset() if cosine is None else frozenset({"embeddings"})

    def recipe(self) -> dict:
        """Return everything that decides the verdicts, but what it reads."""
        return {
            "class": "sip.filter.duplicate.Duplicate",
            "version": 1,
            "bits": self.bits,
            "cosine": self.cosine,
        }

    def check(self, per_sample: int) -> None:
        """Accept any number of pictures of each original."""

    def judge(self, drawn: Sequence[Candidate], facts: Facts) -> list[Verdict]:
        """Compare each picture with its original, then with all that are kept before it."""
        near = self._near(drawn, facts)
        num = len(drawn)
        verdicts = [KEPT] * num
        asked = []
        for row in range(num):  # the originals stand behind the drawn ones
            if near([row], [num + row])[0, 0]:
                verdicts[row] = Verdict("copy of its original", f"of {drawn[row].sample_id}")
            else:
                asked.append(row)
        for row, other in copies(asked, near).items():
            detail = f"of one drawn from {drawn[other].sample_id}"
            verdicts[row] = Verdict("copy of another", detail)
        return verdicts

    def _near(self, drawn: Sequence[Candidate], facts: Facts) -> Near:
        """Return what compares pictures; positions behind the drawn ones are their originals."""
        keys = [one.sha256 for one in drawn] + [one.source_sha256 for one in drawn]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        content = np.array([numbers[key] for key in keys])
        paths = dict(zip(keys, [d.path for d in drawn] + [d.source for d in drawn], strict=True))
        hashes = readable = vectors = None
        if self.bits is not None:
            hashes, readable = hash_pictures([paths[key] for key in numbers], facts.num_threads)
        if self.cosine is not None:
            vectors = facts.embeddings(list(numbers))

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
