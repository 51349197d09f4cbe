"""The numbers of the page: accuracy of each arm over seeds, quality of drawn sets, cost."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

from sip.core.errors import UserError
from sip.report.runs import CONTROL, Run
from sip.tables.statistics import (
    LEVEL,
    Difference,
    Estimate,
    estimate,
    holm,
    paired_difference,
)

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
        holm_p: The difference's p-value, corrected for the number of arms of its group.
    """

    name: str
    runs: dict[int, Run]
    accuracy: Estimate
    difference: Difference | None
    holm_p: float | None

    @property
    def values(self) -> list[float]:
        """Test top-1 of each seed, in %."""
        return [100 * run.summary["test_accuracy"] for run in self.runs.values()]

    @property
    def is_clear(self) -> bool:
        """Whether the difference survives the correction: its interval leaves out 0 then, too."""
        return self.holm_p is not None and self.holm_p < 1 - LEVEL

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


def _arm(name: str, runs: dict[int, Run], control: dict[int, Run]) -> Arm:
    shared = [seed for seed in runs if seed in control]
    difference = None
    if name != CONTROL and shared:
        difference = paired_difference(
            [100 * runs[seed].summary["test_accuracy"] for seed in shared],
            [100 * control[seed].summary["test_accuracy"] for seed in shared],
        )
    values = [100 * run.summary["test_accuracy"] for run in runs.values()]
    return Arm(name, runs, estimate(values), difference, None)


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
