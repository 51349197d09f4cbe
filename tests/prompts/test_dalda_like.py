"""Noise rates by similarity: the mean, the truncated normal against scipy, the grid, the seeds."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest, truncnorm

from sip.core.errors import UserError
from sip.prompts import dalda_like
from sip.prompts.dalda_like import GRID, DaldaLike
from tests.prompts.varied import COMMON, SAMPLES

VALUES = {
    "templates": ["a photo of a {label}", "a bright photo of a {label}"],
    "spread": 0.4,
    "sigma": 0.1,
    "similarities": [0.2, 0.3],
}


def make(**changes) -> DaldaLike:
    return DaldaLike(**(COMMON | VALUES | changes))


def rates(writer: DaldaLike, similarity: float, num: int) -> np.ndarray:
    samples = [replace(SAMPLES[0], sha256=f"sha{number}") for number in range(num)]
    return np.array([writer.rate(sample, 0, similarity) for sample in samples])


def write(**changes):
    captions = [[f"a {sample.class_name}"] for sample in SAMPLES]
    return make(**changes).write(SAMPLES, captions, [[0.25]] * len(SAMPLES), 3)


@pytest.mark.parametrize(
    ("similarity", "mean"), [(-1, 0.1), (0.2, 0.1), (0.225, 0.3), (0.25, 0.5), (0.3, 0.9), (1, 0.9)]
)
def test_what_does_not_look_like_its_class_stays_nearer_to_the_original(similarity, mean):
    assert make().mean(similarity) == pytest.approx(mean)
    assert make(sigma=0).rate(SAMPLES[0], 0, similarity) == pytest.approx(mean)


@pytest.mark.parametrize("similarity", [0.2, 0.22, 0.25, 0.3])
def test_rates_are_of_scipys_truncated_normal(similarity, monkeypatch):
    monkeypatch.setattr(dalda_like, "GRID", 0.001)  # as good as none
    sampled = rates(make(), similarity, 3000)
    mean = make().mean(similarity)
    low, high = ((end - mean) / 0.1 for end in (0.1, 0.9))
    assert kstest(sampled, truncnorm(low, high, loc=mean, scale=0.1).cdf).pvalue > 0.01


def test_rates_lie_on_the_grid_and_within_the_bounds():
    sampled = rates(make(), 0.25, 500)
    np.testing.assert_allclose(sampled / GRID, np.round(sampled / GRID), atol=1e-9)
    assert sampled.min() >= 0.1 and sampled.max() <= 0.9
    assert 5 < len(set(sampled)) <= 17


@pytest.mark.parametrize(
    ("changes", "ends"),
    [
        ({}, (0.1, 0.9)),
        ({"noise_rate": 0.7}, (0.3, 1.0)),
        ({"noise_rate": 0.3}, (0.05, 0.7)),  # not below the grid
        ({"noise_rate": 0.02, "spread": 0}, (0.02, 0.02)),
    ],
)
def test_the_noise_rate_moves_the_range(changes, ends):
    writer = make(**changes)
    assert writer.noise_rates == ends
    for similarity in (0.0, 0.25, 0.9):
        sampled = rates(writer, similarity, 100)
        assert ends[0] <= sampled.min() and sampled.max() <= ends[1]


def test_a_rate_is_a_function_of_seed_source_and_variant():
    rows = write()
    assert [row.noise_rate for row in write()] == [row.noise_rate for row in rows]
    assert len({row.noise_rate for row in rows}) > 5
    assert [row.noise_rate for row in write(seed=1)] != [row.noise_rate for row in rows]
    assert [row.noise_rate for row in write(templates=["x"])] == [row.noise_rate for row in rows]
    assert [row.seed for row in write(noise_rate=0.3)] == [row.seed for row in rows]


def test_rows_keep_the_similarity_and_say_the_class():
    row = write()[3]
    assert (row.caption, row.similarity) == ("a race car", 0.25)
    assert row.text in ("a photo of a race car", "a bright photo of a race car")
    assert make().reads == {"captions", "scores"}
    with pytest.raises(ValueError, match="this prompt reads captions and scores, got none"):
        make().write(SAMPLES, None, None, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spread": -0.1}, r"spread: must be in \[0, 1\], got -0.1"),
        ({"similarities": [0.3, 0.3]}, r"similarities: must be \[low, high\] with low < high, got"),
        ({"similarities": [0.3]}, r"similarities: must be a list of 2: .* got \[0.3\]"),
        ({"templates": ["{lable}"]}, "templates: must be a template"),
    ],
)
def test_wrong_values_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        make(**changes)
