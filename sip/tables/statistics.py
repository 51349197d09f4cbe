"""Statistics of an arm over seeds: thin glue over scipy."""

from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

MIN_SEEDS = 3  # fewer give no interval


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval.

    Attributes:
        mean: Of the values.
        half_width: Half of the Student-t interval; None for fewer than 3 values.
        num: Values.
    """

    mean: float
    half_width: float | None
    num: int


def estimate(values: Sequence[float], level: float = 0.95) -> Estimate:
    """Return mean and two-sided Student-t interval of independent values (seeds).

    Raises:
        ValueError: There are no values.
    """
    if not values:
        raise ValueError("estimate: expected at least one value, got none")
    mean = sum(values) / len(values)
    if len(values) < MIN_SEEDS:
        return Estimate(mean, None, len(values))
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * stats.sem(values)
    return Estimate(mean, float(half), len(values))


@dataclass(frozen=True)
class Difference:
    """A paired difference between two arms over the same seeds.

    Attributes:
        estimate: Mean difference, treated minus control, with its interval.
        p_value: Of the paired t-test; None for fewer than 3 pairs.
    """

    estimate: Estimate
    p_value: float | None


def paired_difference(treated: Sequence[float], control: Sequence[float]) -> Difference:
    """Compare two arms seed by seed.

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
        return Difference(result, 1.0 if abs(result.mean) < 1e-9 else 0.0)
    return Difference(result, float(stats.ttest_rel(treated, control).pvalue))
