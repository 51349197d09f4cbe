"""The numbers of the page: accuracy of each arm over seeds, quality of its images, cost."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean

from sip.core.errors import UserError
from sip.metrics.base import MetricRow
from sip.report.runs import CONTROL, NamedRun
from sip.tables.statistics import (
    LEVEL,
    Difference,
    Estimate,
    estimate,
    holm,
    paired_difference,
)

GENERATION = ("captions", "scores", "prompts", "images")  # stages


@dataclass(frozen=True)
class Arm:
    """One line of a table.

    Attributes:
        name: Of the arm.
        runs: By seed.
        accuracy: Test top-1 over seeds, in %.
        difference: To the control over the seeds that both have, in points; None without.
        holm_p: The difference's p-value, corrected for the number of arms of its group.
    """

    name: str
    runs: dict[int, NamedRun]
    accuracy: Estimate
    difference: Difference | None
    holm_p: float | None

    @property
    def values(self) -> list[float]:
        """Test top-1 of each seed, in %."""
        return [100 * run.record.summary.test_accuracy for run in self.runs.values()]

    @property
    def is_clear(self) -> bool:
        """Whether the difference survives the correction; its interval then excludes 0, too."""
        return self.holm_p is not None and self.holm_p < 1 - LEVEL

    def mean_of(self, key: str) -> float:
        """Return the mean over runs of a number in the summary."""
        return mean(getattr(run.record.summary, key) for run in self.runs.values())

    @property
    def interval(self) -> tuple[float, float]:
        """Ends of the accuracy's interval within [0, 100]; twice the mean if it has none."""
        half = self.accuracy.half_width or 0.0
        return max(0.0, self.accuracy.mean - half), min(100.0, self.accuracy.mean + half)

    @property
    def generation_seconds(self) -> float:
        """Seconds that its runs spent together on generating images."""
        return sum(run.record.summary.seconds(*GENERATION) for run in self.runs.values())

    @property
    def training_seconds(self) -> float:
        """Seconds of training a run, the mean over its runs."""
        return mean(run.record.summary.seconds("classifier") for run in self.runs.values())


def groups(runs: Sequence[NamedRun]) -> dict[str, list[Arm]]:
    """Return backbone and data set -> arms, the control first.

    Raises:
        UserError: Two runs are of one arm and seed.
    """
    by_group: dict[str, dict[str, dict[int, NamedRun]]] = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        seeds = by_group[run.group][run.arm]
        if (seed := run.record.summary.seed) in seeds:
            raise UserError(
                f"report: must have one run of {run.arm} and seed {seed}, got "
                f"{run.record.folder.name} and {seeds[seed].record.folder.name}; name a folder "
                "with one of them"
            )
        seeds[seed] = run
    return {
        group: _corrected(
            [_arm(name, seeds, arms.get(CONTROL, {})) for name, seeds in arms.items()]
        )
        for group, arms in by_group.items()
    }


def _corrected(arms: Sequence[Arm]) -> list[Arm]:
    """Return the arms of a group with their p-values after Holm."""
    plain = {
        arm.name: arm.difference.p_value
        for arm in arms
        if arm.difference is not None and arm.difference.p_value is not None
    }
    after = dict(zip(plain, holm(list(plain.values())), strict=True))
    return [replace(arm, holm_p=after.get(arm.name)) for arm in arms]


def _arm(name: str, runs: dict[int, NamedRun], control: dict[int, NamedRun]) -> Arm:
    shared = [seed for seed in runs if seed in control]
    difference = None
    if name != CONTROL and shared:
        difference = paired_difference(
            [100 * runs[seed].record.summary.test_accuracy for seed in shared],
            [100 * control[seed].record.summary.test_accuracy for seed in shared],
        )
    values = [100 * run.record.summary.test_accuracy for run in runs.values()]
    return Arm(name, runs, estimate(values), difference, None)


@dataclass(frozen=True)
class QualityRow:
    """A metric of the generated images of several arms.

    Attributes:
        metric: Its name.
        unit: What it counts.
        higher_is_better: False where a lower one is.
        split: What it is held against.
        values: Mean over seeds for each set; None where it was not measured.
    """

    metric: str
    unit: str
    higher_is_better: bool
    split: str
    values: list[float | None]


def quality(arms: Sequence[Arm]) -> tuple[list[str], list[QualityRow]]:
    """Return the arms, those with the same generated images together, and their metrics."""
    sets: dict[tuple, list[str]] = {}
    facts: dict[str, MetricRow] = {}
    for arm in arms:
        found: dict[str, list[float]] = defaultdict(list)
        for run in arm.runs.values():
            for row in run.record.summary.quality:
                found[row.metric].append(row.value)
                facts.setdefault(row.metric, row)
        if found:
            means = tuple((metric, mean(values)) for metric, values in found.items())
            sets.setdefault(means, []).append(arm.name)
    columns = [dict(means) for means in sets]
    rows = [
        QualityRow(
            metric,
            fact.unit,
            fact.higher_is_better,
            fact.split,
            [column.get(metric) for column in columns],
        )
        for metric, fact in facts.items()
    ]
    return [", ".join(names) for names in sets.values()], rows
