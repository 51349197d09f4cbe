"""Statistics against scipy and statsmodels, and by simulation."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats import contingency_tables
from statsmodels.stats.multitest import multipletests

from sip.tables.statistics import (
    NUM_RESAMPLES,
    estimate,
    holm,
    mcnemar,
    over_images,
    paired_bootstrap,
    paired_difference,
)


def test_interval_is_scipys() -> None:
    values = [0.81, 0.84, 0.79, 0.86, 0.80]
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    result = estimate(values)
    assert result.mean == pytest.approx(np.mean(values))
    assert result.half_width == pytest.approx((high - low) / 2)
    assert result.num == 5


def test_two_values_have_no_interval() -> None:
    assert estimate([0.8, 0.9]).half_width is None


def test_no_values_are_refused() -> None:
    with pytest.raises(ValueError, match="expected at least one value, got none"):
        estimate([])


def test_nominal_95_percent_covers_93_to_97_at_five_seeds() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for draw in rng.normal(3.0, 2.0, size=(4000, 5)):
        result = estimate(draw.tolist())
        assert result.half_width is not None
        hits += abs(result.mean - 3.0) <= result.half_width
    assert 0.93 <= hits / 4000 <= 0.97


def test_paired_p_value_is_scipys() -> None:
    treated, control = [0.9, 0.88, 0.91, 0.93], [0.85, 0.86, 0.9, 0.88]
    result = paired_difference(treated, control)
    assert result.p_value == pytest.approx(stats.ttest_rel(treated, control).pvalue)
    assert result.estimate.mean == pytest.approx(np.mean(treated) - np.mean(control))


def test_unequal_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="got 2 and 1"):
        paired_difference([1.0, 2.0], [1.0])


def test_interval_of_a_difference_covers_93_to_97_percent_at_five_seeds() -> None:
    rng = np.random.default_rng(1)
    shared = rng.normal(0, 5, (1200, 5))  # the seeds' own, which pairing takes out
    treated = shared + 1.0 + rng.normal(0, 1, (1200, 5))
    hits = 0
    for one, other in zip(treated, shared, strict=True):
        result = paired_difference(one.tolist(), other.tolist()).estimate
        assert result.half_width is not None
        hits += abs(result.mean - 1.0) <= result.half_width
    assert 0.93 <= hits / 1200 <= 0.97


def test_no_spread_is_told_without_a_division_by_zero() -> None:
    assert paired_difference([0.5] * 3, [0.5] * 3).p_value == 1.0
    for num in (3, 5, 8):
        treated, control = np.full(num, 0.75), np.full(num, 0.5)
        flipped = stats.permutation_test(
            (treated, control), lambda a, b: np.mean(a - b), permutation_type="samples"
        )
        result = paired_difference(treated.tolist(), control.tolist())
        assert result.p_value == pytest.approx(flipped.pvalue)  # 0.25 of 3: nothing is proved


def test_holm_is_that_of_statsmodels() -> None:
    p_values = [0.01, 0.04, 0.03, 0.005, 0.02, 0.02, 0.9, 0.0, 0.6, 1.0, 0.0]
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])
    assert holm([0.5]) == [0.5] and holm([]) == []


def flips(rng: np.random.Generator, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two arms on the same images; the first is right on 5 % more of them."""
    hard = rng.random(num)
    control = hard + rng.normal(0, 0.1, num) < 0.7
    return hard + rng.normal(0, 0.1, num) < 0.75, control


def test_mcnemar_is_that_of_statsmodels() -> None:
    treated, control = flips(np.random.default_rng(4), 300)
    table = [[np.sum(t & c) for c in (control, ~control)] for t in (treated, ~treated)]
    reference = contingency_tables.mcnemar(table, exact=True)
    assert mcnemar(treated, control) == pytest.approx(reference.pvalue)
    assert mcnemar(control, control) == 1.0


def test_bootstrap_is_scipys_paired_one() -> None:
    treated, control = flips(np.random.default_rng(5), 400)

    def difference(t: np.ndarray, c: np.ndarray, axis: int) -> np.ndarray:
        return 100 * (np.mean(t, axis=axis) - np.mean(c, axis=axis))

    expected = stats.bootstrap(
        (treated.astype(float), control.astype(float)),
        difference,
        paired=True,
        method="percentile",
        n_resamples=NUM_RESAMPLES,
        rng=np.random.default_rng(7),
    ).confidence_interval
    assert paired_bootstrap([treated], [control]) == pytest.approx(tuple(expected), abs=0.25)


def test_bootstrap_of_several_seeds_takes_images_and_not_results() -> None:
    rng = np.random.default_rng(9)
    arms = [[flips(rng, 200)[arm] for _ in range(3)] for arm in (0, 1)]
    difference = 100 * (np.mean(arms[0], axis=0) - np.mean(arms[1], axis=0))
    expected = stats.bootstrap(
        (difference,), np.mean, method="percentile", n_resamples=20_000, rng=rng
    ).confidence_interval
    assert paired_bootstrap(*arms) == pytest.approx(tuple(expected), abs=0.3)
    assert paired_bootstrap(arms[0], arms[0]) == (0.0, 0.0)


def test_bootstrap_over_images_covers_the_true_difference() -> None:
    rng = np.random.default_rng(6)
    true = 100 * np.subtract(*[np.mean(arm) for arm in flips(rng, 500_000)])
    hits = 0
    for _ in range(100):
        low, high = paired_bootstrap(*([arm] for arm in flips(rng, 300)))
        hits += low <= true <= high
    assert 0.89 <= hits / 100 <= 0.99


def test_seeds_are_not_independent_images() -> None:
    # Five copies of one seed say no more than one.
    treated, control = flips(np.random.default_rng(8), 300)
    one = over_images({0: treated}, {0: control})
    five = over_images(dict.fromkeys(range(5), treated), dict.fromkeys(range(5), control))
    assert (five.low, five.high) == (one.low, one.high)
    exact = mcnemar(treated, control)
    assert one.p_value == pytest.approx(exact)  # nothing to combine
    assert five.p_value == pytest.approx(min(1, 2 * exact))


def test_arms_without_a_common_seed_are_refused() -> None:
    with pytest.raises(ValueError, match="share a seed, got none"):
        over_images({0: np.array([True])}, {1: np.array([True])})
