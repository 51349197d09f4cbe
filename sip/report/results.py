"""The numbers of the page: accuracy of each arm over seeds, quality of drawn sets, cost."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from sip.common.errors import UserError
from sip.report.runs import CONTROL, Run
from sip.tables.statistics import Difference, Estimate, estimate, paired_difference

DRAWING = ("captions", "scores", "prompts", "images")  # stages
TRAINING = "classifier"


@dataclass(frozen=True)
class Arm:
    """One line of a table.

    Attributes:
        name: Of the arm.
        runs: By seed.
        accuracy: Test top-1 over seeds, in %.
        difference: To the control over the seeds that both have, in points; None without.
    """

    name: str
    runs: dict[int, Run]
    accuracy: Estimate
    difference: Difference | None

    @property
    def values(self) -> list[float]:
        """Test top-1 of each seed, in %."""
        return [100 * run.summary["test_accuracy"] for run in self.runs.values()]

    @property
    def is_clear(self) -> bool:
        """Whether the interval of the difference leaves out 0."""
        if self.difference is None or self.difference.estimate.half_width is None:
            return False
        return abs(self.difference.estimate.mean) > self.difference.estimate.half_width

    def mean_of(self, key: str) -> float:
        """Return the mean over runs of a number in the summary."""
        return mean(run.summary[key] for run in self.runs.values())

    def seconds(self, stages: Iterable[str]) -> float:
        """Return the seconds that its runs spent in these stages together."""
        return sum(
            row["seconds"]
            for run in self.runs.values()
            for row in run.summary["stages"]
            if row["stage"] in stages
        )


def groups(runs: Sequence[Run]) -> dict[str, list[Arm]]:
    """Return backbone and data set -> arms, the control first.

    Raises:
        UserError: Two runs are of one arm and seed.
    """
    by_group: dict[str, dict[str, dict[int, Run]]] = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        seeds = by_group[run.group][run.arm]
        if (seed := run.summary["seed"]) in seeds:
            raise UserError(
                f"report: expected one run of {run.arm} and seed {seed}, came {run.folder.name} "
                f"and {seeds[seed].folder.name}; name a folder with one of them"
            )
        seeds[seed] = run
    return {
        group: [_arm(name, seeds, arms.get(CONTROL, {})) for name, seeds in arms.items()]
        for group, arms in by_group.items()
    }


def _arm(name: str, runs: dict[int, Run], control: dict[int, Run]) -> Arm:
    shared = [seed for seed in runs if seed in control]
    difference = None
    if name != CONTROL and shared:
        difference = paired_difference(
            [100 * runs[seed].summary["test_accuracy"] for seed in shared],
            [100 * control[seed].summary["test_accuracy"] for seed in shared],
        )
    values = [100 * run.summary["test_accuracy"] for run in runs.values()]
    return Arm(name, runs, estimate(values), difference)


@dataclass(frozen=True)
class Measured:
    """A number about drawn sets.

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


def quality(arms: Sequence[Arm]) -> tuple[list[str], list[Measured]]:
    """Return the names of the drawn sets, those of equal numbers together, and the numbers."""
    sets: dict[tuple, list[str]] = {}
    facts: dict[str, dict[str, Any]] = {}
    for arm in arms:
        found: dict[str, list[float]] = defaultdict(list)
        for run in arm.runs.values():
            for row in run.summary.get("quality", []):
                found[row["metric"]].append(row["value"])
                facts.setdefault(row["metric"], row)
        if found:
            means = tuple((metric, mean(values)) for metric, values in found.items())
            sets.setdefault(means, []).append(arm.name)
    columns = [dict(means) for means in sets]
    rows = [
        Measured(
            metric,
            fact["unit"],
            fact["higher_is_better"],
            fact["split"],
            [column.get(metric) for column in columns],
        )
        for metric, fact in facts.items()
    ]
    return [", ".join(names) for names in sets.values()], rows
