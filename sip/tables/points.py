"""Make the points of a figure of runs: means over seeds with intervals, and Pareto fronts."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from omegaconf import DictConfig

from sip.core.errors import UserError
from sip.records.read import TrainingRun, swept_keys
from sip.records.varied import named, plain, varied_keys
from sip.tables.layout import checked, completed, names, where_of
from sip.tables.query import require_keys, require_metric
from sip.tables.statistics import Estimate, estimate
from sip.tables.words import metric_words


@dataclass(frozen=True)
class Figure:
    """What a figure shows.

    Attributes:
        title: In one line.
        panel: Key; a panel for each value. None: one panel.
        series: Keys; a colour for each combination of values.
        level: Further keys that name level lines: runs without a value of x.
        x: Key with numbers, or a metric (its mean over seeds is taken).
        y: Metric; more is better.
        points: Keys; a point for each combination of values, if x is a metric.
        lines: Whether the points of a series are joined.
        pareto: Which side of x is better; the front is drawn. None: no front.
        log_x: Whether x is on a logarithmic axis.
        x_label, y_label: Labels of the axes, with units.
        where: Key -> value: only such runs.
    """

    title: str
    panel: str | None
    series: tuple[str, ...]
    level: tuple[str, ...]
    x: str
    y: str
    points: tuple[str, ...]
    lines: bool
    pareto: Literal["max", "min"] | None
    log_x: bool
    x_label: str
    y_label: str
    where: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, node: DictConfig) -> "Figure":
        """Return the figure that a configuration's `figure` describes."""
        values = completed(node, "figure", "noise_rate")
        values.pop("kind")
        for name in ("series", "level", "points"):
            values[name] = names(values[name]) or ()
        values["where"] = where_of(values["where"], "figure")
        if values["y_label"] is None:
            values["y_label"] = metric_words(str(values["y"]))
        return checked(cls, values, "figure")


@dataclass(frozen=True)
class Point:
    """A mean over seeds.

    Attributes:
        x: None if the run has no x: it is drawn as a level line.
        y: Mean and interval.
        name: Name of the point within its series, such as "noise_rate 0.5"; "" if x says it.
    """

    panel: str
    series: str
    x: float | None
    y: Estimate
    name: str


def points(runs: Iterable[TrainingRun], figure: Figure) -> list[Point]:
    """Group runs into points, in the order of panels, series and x.

    Series name further keys in which runs differ. Runs whose metric is not a number are left out.

    Raises:
        UserError: A key or metric is in no run, x is no number, or two runs are of one point and
            seed.
    """
    runs = list(runs)
    require_metric(runs, figure.y)
    is_metric = any(run.metric(figure.x) is not None for run in runs)
    keys = [key for key in (figure.panel, *figure.series, *figure.points) if key]
    require_keys(runs, keys if is_metric else [*keys, figure.x])
    known = [*keys, *figure.level] if is_metric else [*keys, *figure.level, figure.x]
    figure = replace(figure, series=(*figure.series, *varied_keys(runs, swept_keys(runs), known)))
    groups: dict[tuple[str, ...], dict[int, TrainingRun]] = defaultdict(dict)
    for run in runs:
        numbers = [run.metric(figure.y), *([run.metric(figure.x)] if is_metric else [])]
        if any(number is None or not math.isfinite(number) for number in numbers):
            continue
        name = named(run, [key for key in figure.points if key not in figure.series])
        x = "" if is_metric else plain(run.value(figure.x))
        series = named(run, figure.series if x != "-" else (*figure.series, *figure.level))
        place = _panel(run, figure), series, x, name
        other = groups[place].setdefault(run.summary.seed, run)
        if other is not run:
            raise UserError(
                f"figure: two runs of {' × '.join(filter(None, place))}, seed {run.summary.seed}, "
                f"have equal settings: {other.folder} and {run.folder}; delete one of these folders"
            )
    found = [
        _point(place, list(seeds.values()), figure, is_metric) for place, seeds in groups.items()
    ]
    return sorted(found, key=lambda p: (p.panel, p.series, p.x is not None, p.x or 0.0, p.name))


def _panel(run: TrainingRun, figure: Figure) -> str:
    return plain(run.value(figure.panel)) if figure.panel else ""


def _point(
    place: tuple[str, ...], runs: Sequence[TrainingRun], figure: Figure, is_metric: bool
) -> Point:
    panel, series, text, name = place
    y = estimate([run.metric(figure.y) or 0.0 for run in runs])
    if is_metric:
        x = estimate([run.metric(figure.x) or 0.0 for run in runs]).mean
        return Point(panel, series, x, y, name)
    if text == "-":
        return Point(panel, series, None, y, name)
    try:
        return Point(panel, series, float(text), y, name)
    except ValueError:
        raise UserError(f"figure.x: {figure.x} must have numbers, got {text!r}") from None


def front(found: Sequence[Point], better: Literal["max", "min"]) -> list[Point]:
    """Return the points that no other one beats on both axes, by rising x.

    Args:
        found: Points with an x; of equal ones all stay.
        better: The better side of x; of y it is always more.
    """
    sign = 1 if better == "max" else -1

    def beaten(point: Point) -> bool:
        for other in found:
            assert point.x is not None and other.x is not None
            gain_x, gain_y = sign * (other.x - point.x), other.y.mean - point.y.mean
            if gain_x >= 0 and gain_y >= 0 and gain_x + gain_y > 0:
                return True
        return False

    return sorted(
        (point for point in found if not beaten(point)), key=lambda p: (p.x or 0.0, p.y.mean)
    )
