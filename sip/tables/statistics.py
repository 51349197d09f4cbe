"""Statistics of a table: thin glue over scipy, and Holm's correction.

Two sources of variance are treated separately: *seeds* (subset, weights, order) by Student's t, and
*test images* by a paired bootstrap and McNemar's test on stored predictions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import stats

MIN_SEEDS = 3  # fewer give no interval
LEVEL = 0.95  # of every interval; tests are two-sided at 1 - LEVEL
NUM_RESAMPLES = 5000


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval.

    Attributes:
        mean: Mean of the values.
        half_width: Half of the Student-t interval; None for fewer than 3 values.
        num: Values.
    """

    mean: float
    half_width: float | None
    num: int

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval and 0 is outside it."""
        return self.half_width is not None and abs(self.mean) > self.half_width


def estimate(values: Sequence[float], level: float = LEVEL) -> Estimate:
    """Return mean and two-sided Student-t interval of independent values (seeds).

    Raises:
        ValueError: There are no values.
    """
    if not values:
        raise ValueError("estimate: expected at least one value, got none")
    mean = sum(values) / len(values)
    if len(values) < MIN_SEEDS:
        return Estimate(mean, None, len(values))
    half = _t_limit(level, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return Estimate(mean, float(half), len(values))


@cache
def _t_limit(level: float, freedom: int) -> float:
    return float(stats.t.ppf((1 + level) / 2, freedom))


@dataclass(frozen=True)
class Difference:
    """A paired difference between two arms over the same seeds.

    Attributes:
        estimate: Mean difference, treated minus control, with its interval.
        p_value: p-value of the paired t-test, or of the sign-flip test if all differences are
            equal; None for fewer than 3 pairs.
    """

    estimate: Estimate
    p_value: float | None


def paired_difference(treated: Sequence[float], control: Sequence[float]) -> Difference:
    """Compare two arms seed by seed.

    Equal differences, which few test images make likely, have no t: their p-value is that of the
    sign-flip test, the chance that all have one sign.

    Raises:
        ValueError: The arms have different numbers of seeds.
    """
    if len(treated) != len(control):
        raise ValueError(
            f"paired_difference: expected as many treated as control values, got {len(treated)} "
            f"and {len(control)}"
        )
    differences = [t - c for t, c in zip(treated, control, strict=True)]
    result = estimate(differences)
    if result.half_width is None:
        return Difference(result, None)
    if max(differences) - min(differences) < 1e-9:  # no spread: scipy's t is 0/0 or infinite
        p_value = 1.0 if abs(result.mean) < 1e-9 else 2.0 ** (1 - result.num)
        return Difference(result, p_value)
    return Difference(result, float(stats.ttest_rel(treated, control).pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values: below 0.05 keeps the chance of any false find below 5 %.

    Source: Holm, Scand. J. Statist. 6 (1979).
    """
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values)
    raised = values[order] * np.arange(len(values), 0, -1)  # the smallest by all, the largest by 1
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(raised), 1.0)
    return [float(value) for value in adjusted]


@dataclass(frozen=True)
class OverImages:
    """A paired difference between two arms over the test images.

    Attributes:
        low, high: Ends of the bootstrap's percentile interval, in points.
        p_value: McNemar's exact one; of several seeds twice the median of theirs, which is a
            p-value however the seeds depend on each other (Rueger 1978).
    """

    low: float
    high: float
    p_value: float


def over_images(
    treated: Mapping[int, np.ndarray], control: Mapping[int, np.ndarray], seed: int = 0
) -> OverImages:
    """Compare two arms image by image, over the seeds both have.

    Args:
        treated, control: Seed -> whether each test image was right, (images,) bool, same order.
        seed: Seed of the resampling.

    Raises:
        ValueError: They share no seed.
    """
    shared = sorted(treated.keys() & control.keys())
    if not shared:
        raise ValueError("over_images: expected arms that share a seed, got none")
    pairs = [(treated[s].astype(bool), control[s].astype(bool)) for s in shared]
    low, high = paired_bootstrap([t for t, _ in pairs], [c for _, c in pairs], seed)
    p_values = [mcnemar(t, c) for t, c in pairs]
    factor = 2 if len(p_values) > 1 else 1
    return OverImages(low, high, min(1.0, factor * float(np.median(p_values))))


def paired_bootstrap(
    treated: Sequence[np.ndarray], control: Sequence[np.ndarray], seed: int = 0
) -> tuple[float, float]:
    """Return the percentile interval of the accuracy's difference, in points.

    Images are resampled with replacement, each with its results of all seeds and of both arms, so
    that the seeds' common part is not counted twice. How often images of each difference are taken
    is multinomial, which is quicker than to take them one by one.

    Args:
        treated, control: A seed each, (images,) bool, same order of seeds and images.
        seed: Seed of the resampling.
    """
    difference = np.mean(treated, axis=0) - np.mean(control, axis=0)  # (images,)
    values, counts = np.unique(difference, return_counts=True)
    num, rng = len(difference), np.random.default_rng(seed)
    means = rng.multinomial(num, counts / num, NUM_RESAMPLES) @ values / num
    low, high = np.quantile(100 * means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def mcnemar(treated: np.ndarray, control: np.ndarray) -> float:
    """Return the exact p-value of McNemar's test.

    Of the images that only one arm gets right: does each arm get as many?

    Source: McNemar, Psychometrika 12 (1947), with the binomial in place of its limit.

    Args:
        treated, control: Whether each image was right, (images,) bool, same order.
    """
    only_treated, only_control = int(np.sum(treated & ~control)), int(np.sum(control & ~treated))
    num = only_treated + only_control
    return float(stats.binomtest(only_treated, num).pvalue) if num else 1.0
