"""Against scipy's matrix root, torchmetrics' kernel, and loops over sklearn's neighbours."""

import numpy as np
import pytest
import scipy.linalg
import torch
from sklearn.neighbors import NearestNeighbors
from torchmetrics.image.kid import poly_mmd

from sip.metrics import distribution
from sip.metrics.distribution import (
    Distribution,
    density_coverage,
    frechet_distance,
    kernel_distance,
    precision_recall,
)
from tests.metrics.sets import embedded_set, unit


@pytest.fixture
def two() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    return unit(rng, 70, 10, -0.3), unit(rng, 50, 10, 0.6)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "CHUNK", 16)


def frechet_by_matrix_root(first: np.ndarray, second: np.ndarray) -> float:
    """Return the formula word by word."""
    s, t = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = scipy.linalg.sqrtm(s @ t)
    gap = first.mean(0) - second.mean(0)
    return float(gap @ gap + np.trace(s + t - 2 * np.real(root)))


def test_frechet_distance_equals_the_matrix_root(two: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = (rows.astype(float) for rows in two)
    expected = frechet_by_matrix_root(first, second)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first))
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-12)


def test_frechet_distance_with_fewer_rows_than_columns() -> None:
    rng = np.random.default_rng(3)
    first, second = unit(rng, 6, 9).astype(float), unit(rng, 40, 9, 0.4).astype(float)
    # The product of singular covariances has no stable root: a little on the diagonal gives one.
    s, t = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    s, t = s + 1e-10 * np.eye(9), t + 1e-10 * np.eye(9)
    half = scipy.linalg.sqrtm(s)
    gap = first.mean(0) - second.mean(0)
    cross = np.trace(scipy.linalg.sqrtm(half @ t @ half)).real
    expected = gap @ gap + np.trace(s + t) - 2 * cross
    assert frechet_distance(first, second) == pytest.approx(expected, abs=1e-4)


def test_kernel_distance_equals_torchmetrics(two: tuple[np.ndarray, np.ndarray]) -> None:
    # poly_mmd wants two sets of one size; its features have length sqrt(D).
    first, second = (rows[:50].astype(float) * np.sqrt(10) for rows in two)
    expected = poly_mmd(torch.from_numpy(first), torch.from_numpy(second)).item()
    assert kernel_distance(two[0][:50], two[1][:50]) == pytest.approx(expected, rel=1e-5)


def test_kernel_distance_by_plain_loops_for_unequal_sizes() -> None:
    rng = np.random.default_rng(4)
    first, second = unit(rng, 7, 5).astype(float), unit(rng, 4, 5, 1.0).astype(float)

    def mean(rows: np.ndarray, others: np.ndarray, same: bool) -> float:
        values = [
            (a @ b + 1) ** 3
            for i, a in enumerate(rows)
            for j, b in enumerate(others)
            if not (same and i == j)
        ]
        return float(np.mean(values))

    expected = (
        mean(first, first, True) + mean(second, second, True) - 2 * mean(first, second, False)
    )
    assert kernel_distance(first, second) == pytest.approx(expected)


def test_kernel_distance_is_unbiased() -> None:
    rng = np.random.default_rng(5)
    found = [kernel_distance(unit(rng, 20, 6), unit(rng, 30, 6)) for _ in range(300)]
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found)) < 3 * error
    assert min(found) < 0 < max(found)


def radii_by_sklearn(rows: np.ndarray, k: int) -> np.ndarray:
    return NearestNeighbors(n_neighbors=k + 1).fit(rows).kneighbors(rows)[0][:, k]


def test_precision_and_recall_equal_loops_over_sklearns_neighbours(
    two: tuple[np.ndarray, np.ndarray],
) -> None:
    real, generated = two

    def share(points: np.ndarray, centres: np.ndarray, k: int) -> float:
        radii = radii_by_sklearn(centres, k)
        inside = [
            any(np.linalg.norm(p - c) <= r for c, r in zip(centres, radii, strict=True))
            for p in points
        ]
        return float(np.mean(inside))

    found = precision_recall(real, generated, 3)
    assert found == pytest.approx((share(generated, real, 3), share(real, generated, 3)))
    assert all(0.05 < value < 0.98 for value in found)


def test_density_and_coverage_equal_loops_over_sklearns_neighbours(
    two: tuple[np.ndarray, np.ndarray],
) -> None:
    real, generated = two
    radii = radii_by_sklearn(real, 5)
    inside = np.array(
        [
            [np.linalg.norm(d - r) <= radius for d in generated]
            for r, radius in zip(real, radii, strict=True)
        ]
    )
    found = density_coverage(real, generated, 5)
    assert found == pytest.approx((inside.sum() / (5 * len(generated)), inside.any(1).mean()))
    assert all(0.05 < value < 1.5 for value in found)


def test_rows_name_the_part_that_they_are_held_against() -> None:
    rows = Distribution(3, 5).measure(embedded_set(reference_split="val"))
    assert [row.metric.removeprefix("generated/") for row in rows] == [
        "frechet", "kernel_distance", "precision", "recall", "density", "coverage",
    ]  # fmt: skip
    assert {row.split for row in rows} == {"val"}
    lower = [row.metric for row in rows if not row.higher_is_better]
    assert lower == ["generated/frechet", "generated/kernel_distance"]


def test_what_a_set_is_too_small_for_is_left_out() -> None:
    metric = Distribution(3, 5)
    assert metric.measure(embedded_set(reference=None)) == []
    assert len(metric.measure(embedded_set(num=4))) == 4  # no fifth neighbour
    assert len(metric.measure(embedded_set(num=3, sources=np.zeros(3, int)))) == 2
    assert metric.measure(embedded_set(num=1, originals=embedded_set().originals)) == []
