"""Distances against scipy's pdist, the Vendi score against its definition and its package's way."""

import numpy as np
import pytest
import scipy.linalg
from scipy.spatial.distance import cosine, pdist
from scipy.stats import entropy

from sip.metrics.diversity import Diversity, distance_within_class, vendi_score
from tests.metrics.sets import embedded_set, unit


def vendi_by_definition(vectors: np.ndarray) -> float:
    """Return it as the package vendi-score does: eigenvalues of K / n, then scipy's entropy."""
    kernel = vectors.astype(float) @ vectors.astype(float).T
    values = scipy.linalg.eigvalsh(kernel / len(kernel))
    return float(np.exp(entropy(values[values > 1e-12])))


def test_rows_equal_scipy() -> None:
    images = embedded_set()
    rows = {row.metric: row.value for row in Diversity().measure(images)}
    away = [
        cosine(image, images.originals[source])
        for image, source in zip(images.generated.astype(float), images.sources, strict=True)
    ]
    within = [
        pdist(images.generated[images.labels == label], "cosine").mean() for label in range(3)
    ]
    assert rows["generated/diversity_original"] == pytest.approx(np.mean(away), abs=1e-6)
    assert rows["generated/diversity_class"] == pytest.approx(np.mean(within), abs=1e-6)
    assert rows["generated/vendi"] == pytest.approx(vendi_by_definition(images.generated), rel=1e-6)


@pytest.mark.parametrize("shape", [(7, 30), (30, 30), (200, 9)])
def test_vendi_score_both_ways_round(shape: tuple[int, int]) -> None:
    vectors = unit(np.random.default_rng(1), *shape)
    assert vendi_score(vectors) == pytest.approx(vendi_by_definition(vectors), rel=1e-6)


def test_vendi_score_counts_different_images() -> None:
    assert vendi_score(np.eye(6)) == pytest.approx(6)
    assert vendi_score(np.tile(np.eye(6)[:1], (6, 1))) == pytest.approx(1)
    assert vendi_score(np.repeat(np.eye(3, 8), 4, axis=0)) == pytest.approx(3)


def test_a_class_with_one_image_has_no_pairs() -> None:
    pair = np.array([[1.0, 0], [0, 1.0], [0, 1.0]])
    assert distance_within_class(pair, np.array([0, 0, 1])) == pytest.approx(1)
    assert distance_within_class(pair, np.array([0, 1, 2])) is None
    lonely = embedded_set(num=2, labels=np.array([0, 1]))
    assert "generated/diversity_class" not in {row.metric for row in Diversity().measure(lonely)}
