"""Does the drawn set bring anything new? Distances within it and to the originals.

A distance is 1 - cosine of two unit vectors, in [0, 2]. More diversity is only better as long as
the pictures still show their class: read it beside `sip.metrics.consistency`.

Source of the Vendi score: Friedman and Dieng, TMLR 2023 (arXiv 2210.02410), definition 3.1, with
the cosine as kernel, as in their package vendi-score (MIT); the code is ours.
"""

import numpy as np

from sip.metrics.base import DrawnSet, Row
from sip.metrics.consistency import paired_cosines


def distance_to_original(
    drawn: np.ndarray, originals: np.ndarray, sources: np.ndarray
) -> np.ndarray:
    """Return 1 - cosine, in [0, 2], of each picture (N, D) and its original -> (N,)."""
    return 1 - paired_cosines(drawn, originals[sources])


def distance_within_class(pictures: np.ndarray, labels: np.ndarray) -> float | None:
    """Return the mean of 1 - cosine, in [0, 2], over all pairs of a class, then over classes.

    Every class with at least two pictures counts the same; None where no class has two.
    """
    means = []
    for label in np.unique(labels):
        rows = pictures[labels == label].astype(np.float64)
        num = len(rows)
        if num < 2:
            continue
        # The sum of all cosines is the squared length of the sum; those with itself are taken out.
        of_pairs = np.square(rows.sum(0)).sum() - np.square(rows).sum()
        means.append(1 - of_pairs / (num * (num - 1)))
    return float(np.mean(means)) if means else None


def vendi_score(vectors: np.ndarray) -> float:
    """Return the effective number of different pictures, in [1, N]: exp of the entropy of K / N.

    K is the matrix of cosines, and the entropy is that of its eigenvalues. N equal pictures give 1,
    N orthogonal ones N; it grows with N, so compare sets of one size.

    Args:
        vectors: (N, D), of length 1.
    """
    rows = vectors.astype(np.float64)
    num, width = rows.shape
    # Both products have the same eigenvalues but for zeros: the smaller one is decomposed.
    product = rows @ rows.T if num <= width else rows.T @ rows
    values = np.linalg.eigvalsh(product / num)
    values = values[values > 0]
    return float(np.exp(-(values * np.log(values)).sum()))


class Diversity:
    """Distance to the original, mean distance within a class, Vendi score of the whole set."""

    def measure(self, drawn: DrawnSet) -> list[Row]:
        """Return the rows; that of the classes only where one has two drawn pictures."""
        num = len(drawn.drawn)
        to_original = distance_to_original(drawn.drawn, drawn.originals, drawn.sources).mean()
        within = distance_within_class(drawn.drawn, drawn.labels)
        unit = "1 - cosine"
        rows = [Row("drawn/diversity_original", float(to_original), unit, True, "train", num)]
        if within is not None:
            rows.append(Row("drawn/diversity_class", within, unit, True, "train", num))
        vendi = vendi_score(drawn.drawn)
        return [*rows, Row("drawn/vendi", vendi, "pictures", True, "train", num)]
