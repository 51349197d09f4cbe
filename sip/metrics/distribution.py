"""Is the generated set distributed like real images that nothing was generated from?

On unit embeddings of the scorer, or on features of another network (`FeatureDistribution`), never
on Inception's: no value can be compared with a published FID or KID; arms of one experiment can be
compared with each other, for one n.

Sources: Frechet distance: Heusel et al., NeurIPS 2017 (arXiv 1706.08500), section 3. Kernel
distance: Binkowski et al., ICLR 2018 (arXiv 1801.01401), section 3, the unbiased estimate.
Precision and recall: Kynkaanniemi et al., NeurIPS 2019 (arXiv 1904.06991), equations 1 and 2.
Density and coverage: Naeem et al., ICML 2020 (arXiv 2002.09797), section 3. The code is ours.
"""

import numpy as np

from sip.backbone.base import Backbone
from sip.core.component import Component, Part, component
from sip.core.ranges import Count
from sip.metrics.base import EmbeddedSet, FeatureSet, MetricRow

CHUNK = 2048  # rows of a matrix of distances that are in memory at a time


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the squared Frechet distance of two Gaussians fitted to (N, D) and (M, D); >= 0.

    0 for equal means and covariances. Biased upwards for few rows: compare equal numbers only.
    """
    root, other = _centred_root(first), _centred_root(second)
    means = np.square(_float(first).mean(0) - _float(second).mean(0)).sum()
    traces = np.square(root).sum() + np.square(other).sum()
    # tr((S1 S2)^(1/2)) is the sum of the singular values of A B^T, with S1 = A^T A, S2 = B^T B:
    # no root of a product that rounding makes indefinite, as there is with fewer rows than columns.
    cross = np.linalg.svd(root @ other.T, compute_uv=False).sum()
    return max(0.0, float(means + traces - 2 * cross))


def _centred_root(rows: np.ndarray) -> np.ndarray:
    """Return A with A^T A the unbiased covariance of the rows, of at most D rows."""
    centred = _float(rows) - _float(rows).mean(0)
    root = centred / np.sqrt(len(rows) - 1)
    return np.asarray(np.linalg.qr(root, mode="r")) if len(root) > root.shape[1] else root


def kernel_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the unbiased squared maximum mean discrepancy of (N, D) and (M, D).

    The kernel is (x y + 1)^3, of unit vectors (cosine + 1)^3. The paper's is that of features
    divided by sqrt(D), see `scaled`. 0 is expected for two samples of one distribution, so small
    values below 0 occur.
    """
    num_first, num_second = len(first), len(second)
    within_first = _kernel_sum(first, first) - _kernel_diagonal(first)
    within_second = _kernel_sum(second, second) - _kernel_diagonal(second)
    between = _kernel_sum(first, second)
    return (
        within_first / (num_first * (num_first - 1))
        + within_second / (num_second * (num_second - 1))
        - 2 * between / (num_first * num_second)
    )


def scaled(features: np.ndarray) -> np.ndarray:
    """Return features (N, D) / sqrt(D): their products are those of the paper's kernel."""
    return _float(features) / np.sqrt(features.shape[1])


def kernel_distance_error(first: np.ndarray, second: np.ndarray, size: int) -> float | None:
    """Return the standard error of `kernel_distance`, from disjoint blocks of both sets.

    It is the standard deviation of the blocks' distances over the square root of their number;
    None for fewer than two blocks.

    Args:
        first, second: (N, D) and (M, D), in random order.
        size: Rows of a block.
    """
    num = min(len(first), len(second)) // size
    if num < 2:
        return None
    blocks = [slice(number * size, (number + 1) * size) for number in range(num)]
    distances = [kernel_distance(first[block], second[block]) for block in blocks]
    return float(np.std(distances, ddof=1) / np.sqrt(num))


def _kernel_sum(first: np.ndarray, second: np.ndarray) -> float:
    other = _float(second).T
    chunks = (_float(first[start : start + CHUNK]) for start in range(0, len(first), CHUNK))
    return float(sum(((chunk @ other + 1) ** 3).sum() for chunk in chunks))


def _kernel_diagonal(rows: np.ndarray) -> float:
    return float(((np.square(_float(rows)).sum(1) + 1) ** 3).sum())


def neighbour_radii(rows: np.ndarray, num_neighbours: int) -> np.ndarray:
    """Return the squared distance of each row (N, D) to its k-th nearest other row -> (N,)."""
    radii = []
    for start in range(0, len(rows), CHUNK):
        distances = _squared_distances(rows[start : start + CHUNK], rows)
        own = np.arange(len(distances))
        distances[own, start + own] = np.inf
        radii.append(np.partition(distances, num_neighbours - 1, axis=1)[:, num_neighbours - 1])
    return np.concatenate(radii)


def balls_holding(points: np.ndarray, centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Return in how many of the balls (C, D), with squared radii (C,), each point lies -> (P,)."""
    counts = [
        (_squared_distances(points[start : start + CHUNK], centres) <= radii).sum(1)
        for start in range(0, len(points), CHUNK)
    ]
    return np.concatenate(counts)


def precision_recall(
    real: np.ndarray, generated: np.ndarray, num_neighbours: int
) -> tuple[float, float]:
    """Return precision and recall, both in [0, 1].

    Precision is the share of generated images in the real manifold, recall that of real images in
    the generated manifold; a manifold is the union of balls around its images, each of the radius
    that reaches its k-th neighbour.
    """
    in_real = balls_holding(generated, real, neighbour_radii(real, num_neighbours))
    in_generated = balls_holding(real, generated, neighbour_radii(generated, num_neighbours))
    return float((in_real > 0).mean()), float((in_generated > 0).mean())


def density_coverage(
    real: np.ndarray, generated: np.ndarray, num_neighbours: int
) -> tuple[float, float]:
    """Return density, in [0, N / k] and about 1 for equal distributions, and coverage, in [0, 1].

    Density is the number of real images' balls that a generated one lies in, over k; coverage the
    share of real images with a generated one in their ball.
    """
    radii = neighbour_radii(real, num_neighbours)
    density = balls_holding(generated, real, radii).mean() / num_neighbours
    nearest = np.concatenate(
        [
            _squared_distances(real[start : start + CHUNK], generated).min(1)
            for start in range(0, len(real), CHUNK)
        ]
    )
    return float(density), float((nearest <= radii).mean())


def _squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return (N, M) for (N, D) and (M, D)."""
    first, second = _float(first), _float(second)
    lengths = np.square(first).sum(1)[:, None] + np.square(second).sum(1)
    return np.maximum(lengths - 2 * (first @ second.T), 0)


def _float(rows: np.ndarray) -> np.ndarray:
    return rows.astype(np.float64, copy=False)


@component
class Distribution(Component):
    """Frechet and kernel distance, precision and recall, density and coverage, by the scorer.

    Args:
        precision_neighbours: k of precision and recall; the paper's is 3.
        coverage_neighbours: k of density and coverage; the paper's is 5.
    """

    precision_neighbours: Count
    coverage_neighbours: Count

    def measure(self, images: EmbeddedSet) -> list[MetricRow]:
        """Return the rows; none without a reference, and none that the sets are too small for."""
        real = images.reference
        if real is None:
            return []
        split, neighbours = images.reference_split, self.precision_neighbours
        return distances(
            real, images.generated, split, "", neighbours, self.coverage_neighbours, unit=True
        )


@component
class FeatureDistribution(Component):
    """The same measures on features of a network: what it hands to its last linear layer.

    Args:
        features: Name of the features, the end of the measures' names.
        network: A pre-trained backbone.
        precision_neighbours, coverage_neighbours: As for `Distribution`.
    """

    features: str
    network: Part[Backbone]
    precision_neighbours: Count
    coverage_neighbours: Count

    def measure(self, images: FeatureSet) -> list[MetricRow]:
        """Return the rows; none that the sets are too small for."""
        return distances(
            images.reference,
            images.generated,
            images.reference_split,
            f"_{self.features}",
            self.precision_neighbours,
            self.coverage_neighbours,
            unit=False,
        )


def distances(
    real: np.ndarray,
    generated: np.ndarray,
    split: str,
    suffix: str,
    precision_neighbours: int,
    coverage_neighbours: int,
    unit: bool,
) -> list[MetricRow]:
    """Return the rows of all measures; those that the sets are too small for are left out.

    Args:
        real, generated: (N, D) and (M, D).
        split: Part of the data set that the real images are of.
        suffix: End of the measures' names.
        precision_neighbours, coverage_neighbours: k of precision and recall, and of the others.
        unit: Whether rows are of length 1; else the kernel takes them `scaled`.
    """
    smaller = min(len(real), len(generated))
    if smaller < 2:
        return []
    products = (real, generated) if unit else (scaled(real), scaled(generated))
    rows = [
        ("frechet", frechet_distance(real, generated), "squared distance", False),
        ("kernel_distance", kernel_distance(*products), "squared distance", False),
    ]
    if smaller > precision_neighbours:
        precision, recall = precision_recall(real, generated, precision_neighbours)
        rows += [("precision", precision, "share", True), ("recall", recall, "share", True)]
    if smaller > coverage_neighbours:
        density, coverage = density_coverage(real, generated, coverage_neighbours)
        rows += [("density", density, "ratio", True), ("coverage", coverage, "share", True)]
    num = len(generated)
    return [
        MetricRow(f"generated/{name}{suffix}", value, unit_name, better, split, num)
        for name, value, unit_name, better in rows
    ]
