"""Does the generated set bring anything new? Distances within it and to the originals.

A distance is 1 - cosine of two unit vectors, in [0, 2]. More diversity is only better as long as
the images still show their class: read it next to `sip.metrics.consistency`.

Source of the Vendi score: Friedman and Dieng, TMLR 2023 (arXiv 2210.02410), definition 3.1, with
the cosine as kernel, as in their package vendi-score (MIT); the code is ours.
"""

import numpy as np

from sip.core.component import Component, component
from sip.metrics.base import EmbeddedSet, MetricRow
from sip.metrics.consistency import paired_cosines


def distance_to_original(
    generated: np.ndarray, originals: np.ndarray, sources: np.ndarray
) -> np.ndarray:
    """Return 1 - cosine, in [0, 2], of each image (N, D) and its original -> (N,)."""
    return 1 - paired_cosines(generated, originals[sources])


def distance_within_class(images: np.ndarray, labels: np.ndarray) -> float | None:
    """Return the mean of 1 - cosine, in [0, 2], over all pairs of a class, then over classes.

    Every class with at least two images counts the same; None if no class has two.
    """
    means = []
    for label in np.unique(labels):
        rows = images[labels == label].astype(np.float64)
        num = len(rows)
        if num < 2:
            continue
        # The sum of all cosines is the squared length of the sum; those with itself are taken out.
        of_pairs = np.square(rows.sum(0)).sum() - np.square(rows).sum()
        means.append(1 - of_pairs / (num * (num - 1)))
    return float(np.mean(means)) if means else None


def vendi_score(vectors: np.ndarray) -> float:
    """Return the effective number of different images, in [1, N]: exp of the entropy of K / N.

    K is the matrix of cosines, and the entropy is that of its eigenvalues. N equal images give 1,
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


@component
class Diversity(Component):
    """Distance to the original, mean distance within a class, Vendi score of the whole set."""

    def measure(self, images: EmbeddedSet) -> list[MetricRow]:
        """Return the rows; that of the classes only if a class has two generated images."""
        num = len(images.generated)
        to_original = distance_to_original(
            images.generated, images.originals, images.sources
        ).mean()
        within = distance_within_class(images.generated, images.labels)
        unit = "1 - cosine"
        rows = [
            MetricRow("generated/diversity_original", float(to_original), unit, True, "train", num)
        ]
        if within is not None:
            rows.append(MetricRow("generated/diversity_class", within, unit, True, "train", num))
        vendi = vendi_score(images.generated)
        return [*rows, MetricRow("generated/vendi", vendi, "images", True, "train", num)]
