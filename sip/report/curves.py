"""Learning curves of the page: `metrics.csv` of each run as lines in a small chart an arm."""

import csv
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sip.report.results import Arm, ArmGroup

CURVES = "metrics.csv"
MEASURES = {"val/accuracy": "Validation accuracy, %", "train/loss": "Training loss"}
SHARES = ("val/accuracy",)  # in [0, 1]; shown in %
MAX_BYTES = 2**27  # of a file
MAX_POINTS = 150  # of a line
FEW = 3  # points of a line that are shown as dots: a line of one is nothing
WIDTH, HEIGHT = 100, 40  # of the chart's own coordinates

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """The lines of one arm and measure.

    Attributes:
        title: Title of the measure, with its unit.
        lines: Points of each seed's line, as SVG writes them.
        dots: Path of the points of lines that have few.
        control: Path of the control's mean; "" for the control itself.
        low, high: Ends of the vertical axis, the same for all arms of the group.
        steps: End of the horizontal axis, which begins at 0.
    """

    title: str
    lines: list[str]
    dots: str
    control: str
    low: float
    high: float
    steps: float


@dataclass(frozen=True)
class ArmCurves:
    """The charts of one arm, one for each measure that was recorded."""

    name: str
    charts: list[Chart]


def curves(group: ArmGroup) -> list[ArmCurves]:
    """Return the charts of a group's arms; empty if no run recorded its curves."""
    lines = {arm.name: arm_lines(arm) for arm in group.arms}
    by_arm: dict[str, list[Chart]] = {arm.name: [] for arm in group.arms}
    control = group.control.name if group.control else ""
    for measure, title in MEASURES.items():
        every = [point for arm in lines.values() for line in arm[measure] for point in line]
        if not every:
            continue
        steps = max(step for step, _ in every) or 1.0
        low, high = min(value for _, value in every), max(value for _, value in every)
        if low == high:
            low, high = low - 0.5, high + 0.5
        frame = (steps, low, high)
        middle = _mean(lines[control][measure]) if control in lines else []
        for name, arm in lines.items():
            if arm[measure]:
                shown = [_svg(line, *frame) for line in arm[measure]]
                reference = "" if name == control else _svg(middle, *frame)
                few = [line for line in arm[measure] if len(line) <= FEW]
                dots = " ".join(
                    f"M{point}h0" for line in few for point in _svg(line, *frame).split()
                )
                by_arm[name].append(Chart(title, shown, dots, reference, low, high, steps))
    return [ArmCurves(name, charts) for name, charts in by_arm.items() if charts]


def without_curves(group: ArmGroup, shown: Sequence[ArmCurves]) -> list[str]:
    """Return the arms that have no chart, if others have some."""
    names = {arm.name for arm in shown}
    return [arm.name for arm in group.arms if names and arm.name not in names]


def arm_lines(arm: Arm) -> dict[str, list[Points]]:
    """Return measure -> the points of each run of an arm that recorded it."""
    result: dict[str, list[Points]] = {measure: [] for measure in MEASURES}
    for run in arm.runs.values():
        for measure, points in read_curves(run.record.folder / CURVES).items():
            if points:
                result[measure].append(points)
    return result


def read_curves(file: Path) -> dict[str, Points]:
    """Return measure -> (step, value) of a run, finite values only; empty for a damaged file."""
    result: dict[str, Points] = {measure: [] for measure in MEASURES}
    try:
        if not file.is_file() or file.stat().st_size > MAX_BYTES:
            return result
        with file.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                for measure in MEASURES:
                    if text := row.get(measure):
                        value = float(text) * (100 if measure in SHARES else 1)
                        if math.isfinite(value):
                            result[measure].append((float(row["step"]) + 1, value))
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return {measure: [] for measure in MEASURES}
    return {measure: _thinned(sorted(points)) for measure, points in result.items()}


def _thinned(points: Points) -> Points:
    """Return at most `MAX_POINTS` of the points, the last one too."""
    every = -(-len(points) // MAX_POINTS) or 1
    return points if every == 1 else [*points[:-1:every], points[-1]]


def _mean(lines: Sequence[Points]) -> Points:
    """Return the mean of several lines at those steps that all have."""
    values: Mapping[float, list[float]] = defaultdict(list)
    for line in lines:
        for step, value in line:
            values[step].append(value)
    whole = {step: at for step, at in values.items() if len(at) == len(lines)}
    return [(step, sum(at) / len(at)) for step, at in sorted(whole.items())]


def _svg(points: Points, steps: float, low: float, high: float) -> str:
    return " ".join(
        f"{WIDTH * step / steps:.1f},{HEIGHT * (high - value) / (high - low):.1f}"
        for step, value in points
    )
