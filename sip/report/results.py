"""The numbers of the page: accuracy of each arm over seeds, quality of its images, cost."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean

from sip.core.errors import UserError
from sip.core.text import join_first, without_paths
from sip.metrics.base import MetricRow
from sip.report.runs import CONTROL, NamedRun, is_baseline
from sip.tables.cells import UnlikeError, same_images
from sip.tables.layout import SEPARATOR, TableLayout
from sip.tables.missing import CellCommand, placed
from sip.tables.statistics import (
    LEVEL,
    Difference,
    Estimate,
    estimate,
    holm,
    paired_difference,
)

BASELINE = TableLayout("", "backbone", ("augmentation",), None, "test/top1")


@dataclass(frozen=True)
class Arm:
    """Runs that differ in their seed only: one line of a table.

    Attributes:
        name: Name of the arm.
        runs: By seed.
        accuracy: Test top-1 over those seeds that have one, in %; None if no seed has.
        difference: Difference to the control over the seeds that both have, in points; None
            without, and if they are of other images.
        holm_p: The difference's p-value, corrected for the number of arms of its group.
        unlike: Why its runs are no pairs with the control's; None if they are.
    """

    name: str
    runs: dict[int, NamedRun]
    accuracy: Estimate | None
    difference: Difference | None
    holm_p: float | None
    unlike: str | None = None

    @property
    def values(self) -> list[float]:
        """Test top-1 of each seed that has one, in %."""
        return [run.accuracy for run in self.runs.values() if run.accuracy is not None]

    @property
    def diverged(self) -> list[int]:
        """Seeds whose test accuracy is not a number."""
        return [seed for seed, run in self.runs.items() if run.accuracy is None]

    @property
    def is_clear(self) -> bool:
        """Whether the difference survives the correction; its interval then excludes 0, too."""
        return self.holm_p is not None and self.holm_p < 1 - LEVEL

    def mean_of(self, key: str) -> float:
        """Return the mean over runs of a number in the summary."""
        return mean(getattr(run.record.summary, key) for run in self.runs.values())

    @property
    def base(self) -> str:
        """Base transform of its runs."""
        return " or ".join(sorted({run.record.summary.base for run in self.runs.values()}))

    def is_confounded(self, control: "Arm") -> bool:
        """Return whether it differs from the control in more than its base transform, and in it."""
        parts = [
            [part for part in arm.name.split(SEPARATOR) if not part.startswith("base ")]
            for arm in (self, control)
        ]
        return self.base != control.base and parts[0] != parts[1]

    @property
    def interval(self) -> tuple[float, float] | None:
        """Ends of the accuracy's interval within [0, 100]; None if there is none."""
        if self.accuracy is None or self.accuracy.half_width is None:
            return None
        half = self.accuracy.half_width
        return max(0.0, self.accuracy.mean - half), min(100.0, self.accuracy.mean + half)

    @property
    def training_seconds(self) -> float:
        """Seconds of training a run, the mean over its runs."""
        return mean(run.record.summary.seconds("classifier") for run in self.runs.values())


@dataclass(frozen=True)
class ArmGroup:
    """Arms with one backbone and data set.

    Attributes:
        name: Backbone and data set.
        arms: The control first.
        control: The arm that others are compared with: the one without augmentation, or the
            first one. None if no arm has a result.
        baseline_command: Makes the runs without augmentation; None if there are some.
    """

    name: str
    arms: list[Arm]
    control: Arm | None
    baseline_command: str | None

    @property
    def bases(self) -> list[str]:
        """Base transforms of the arms; one if they can be compared."""
        return sorted({arm.base for arm in self.arms})

    @property
    def unlike(self) -> list[str]:
        """A line on each arm whose runs are no pairs with the control's."""
        lines = [f"{arm.name}: {arm.unlike}" for arm in self.arms if arm.unlike]
        return [f"{self.name}, {without_paths(line)}" for line in lines]

    @property
    def confounded(self) -> str | None:
        """A warning on the arms whose base transform is not the control's; None if there are none.

        Arms that differ in nothing else compare the base transforms.
        """
        control = self.control
        arms = [arm for arm in self.arms if control and arm.is_confounded(control)]
        if control is None or not arms:
            return None
        named = join_first([f"{arm.name} ({arm.base})" for arm in arms], 6)
        return (
            f"{self.name}: the base transform is not that of {control.name} ({control.base}), "
            f"so these differences are not the arms' alone: {named}; run all with one "
            "augmentation/base."
        )


def groups(runs: Sequence[NamedRun], experiments: Sequence[str] = ()) -> list[ArmGroup]:
    """Return the arms of each backbone and data set.

    Raises:
        UserError: Two runs are of one arm and seed.
    """
    by_group: dict[str, dict[str, dict[int, NamedRun]]] = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        seeds = by_group[run.group][run.arm]
        if (seed := run.record.summary.seed) in seeds:
            raise UserError(
                f"report: must have one run of {run.arm} and seed {seed}, got "
                f"{run.record.folder.name} and {seeds[seed].record.folder.name}, which have equal "
                "settings; delete one of these folders"
            )
        seeds[seed] = run
    return [_group(name, arms, experiments) for name, arms in by_group.items()]


def _group(
    name: str, by_arm: dict[str, dict[int, NamedRun]], experiments: Sequence[str]
) -> ArmGroup:
    every = [run for seeds in by_arm.values() for run in seeds.values()]
    with_result = [arm for arm, seeds in by_arm.items() if _accuracies(seeds)]
    baselines = [arm for arm in with_result if all(map(_is_baseline, by_arm[arm].values()))]
    control = next(iter([*baselines, *with_result]), None)
    reference = by_arm.get(control or "", {})
    arms = _corrected([_arm(arm, by_arm[arm], reference, arm == control) for arm in by_arm])
    arms.sort(key=lambda arm: arm.name != control)
    return ArmGroup(
        name,
        arms,
        next((arm for arm in arms if arm.name == control), None),
        None if baselines else _baseline_command(every, experiments),
    )


def _is_baseline(run: NamedRun) -> bool:
    return is_baseline(run.record)


def _baseline_command(runs: Sequence[NamedRun], experiments: Sequence[str]) -> str:
    """Return the command of the runs without augmentation, with the seeds of the others."""
    place = (runs[0].record.summary.backbone, CONTROL, "")
    seeds = sorted({run.record.summary.seed for run in runs})
    command = CellCommand.of(place, placed([run.record for run in runs], BASELINE), BASELINE)
    return command.command(seeds, experiments)


def _accuracies(runs: dict[int, NamedRun]) -> dict[int, float]:
    values = {seed: run.accuracy for seed, run in runs.items()}
    return {seed: value for seed, value in values.items() if value is not None}


def _corrected(arms: Sequence[Arm]) -> list[Arm]:
    """Return the arms of a group with their p-values after Holm."""
    uncorrected = {
        arm.name: arm.difference.p_value
        for arm in arms
        if arm.difference is not None and arm.difference.p_value is not None
    }
    after = dict(zip(uncorrected, holm(list(uncorrected.values())), strict=True))
    return [replace(arm, holm_p=after.get(arm.name)) for arm in arms]


def _arm(
    name: str, runs: dict[int, NamedRun], control: dict[int, NamedRun], is_control: bool
) -> Arm:
    mine, theirs = _accuracies(runs), _accuracies(control)
    shared = [seed for seed in mine if seed in theirs]
    difference, unlike = None, None
    if not is_control:
        unlike = _unlike([(runs[seed], control[seed]) for seed in shared])
    if shared and not is_control and unlike is None:
        difference = paired_difference(
            [mine[seed] for seed in shared], [theirs[seed] for seed in shared]
        )
    value = estimate(list(mine.values())) if mine else None
    return Arm(name, runs, value, difference, None, unlike)


def _unlike(pairs: Sequence[tuple[NamedRun, NamedRun]]) -> str | None:
    """Return why pairs of runs are not of the same images; None if they are, as far as is known."""
    for pair in pairs:
        run, other = (one.record for one in pair)
        try:
            same_images(run, other)
        except UnlikeError as error:
            return str(error)
        except UserError:  # a file is damaged: the page names it
            continue
    return None


@dataclass(frozen=True)
class QualityRow:
    """A metric of the generated images of several arms.

    Attributes:
        metric: Its name.
        unit: What it counts.
        higher_is_better: False where a lower one is.
        split: What it is compared with.
        values: Arms that share their images, and their mean over seeds.
    """

    metric: str
    unit: str
    higher_is_better: bool
    split: str
    values: list[tuple[str, float]]

    def share(self, value: float) -> float:
        """Return a value's place between 0 (or the lowest one) and the highest one, in %."""
        numbers = [number for _, number in self.values]
        low, high = min(0.0, *numbers), max(0.0, *numbers)
        return 100 * (value - low) / ((high - low) or 1.0)


def quality(arms: Sequence[Arm]) -> list[QualityRow]:
    """Return the metrics of generated images; arms with the same images are one value."""
    sets: dict[tuple, list[str]] = {}
    facts: dict[str, MetricRow] = {}
    for arm in arms:
        found: dict[str, list[float]] = defaultdict(list)
        for run in arm.runs.values():
            for row in run.record.summary.quality:
                if math.isfinite(row.value):
                    found[row.metric].append(row.value)
                    facts.setdefault(row.metric, row)
        if found:
            means = tuple((metric, mean(values)) for metric, values in found.items())
            sets.setdefault(means, []).append(arm.name)
    columns = {", ".join(names): dict(means) for means, names in sets.items()}
    return [
        QualityRow(
            metric,
            fact.unit,
            fact.higher_is_better,
            fact.split,
            [(name, means[metric]) for name, means in columns.items() if metric in means],
        )
        for metric, fact in facts.items()
    ]
