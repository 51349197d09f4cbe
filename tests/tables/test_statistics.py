"""Statistics against scipy and by simulation."""

import numpy as np
import pytest
from scipy import stats

from sip.tables.statistics import estimate, paired_difference


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
