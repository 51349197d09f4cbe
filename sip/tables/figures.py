"""Figures of finished runs, as PDF and PNG, in colours that colour-blind readers can tell apart."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sip.records.read import TrainingRun
from sip.tables.points import Figure, Point, front, points
from sip.tables.saving import save, style

# Okabe and Ito's palette (jfly.uni-koeln.de/color), dark plum in place of yellow, faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#603048")
MARKERS = "osD^vPX*<>hp"
PANEL_WIDTH, PANEL_HEIGHT = 4.2, 3.4  # inches
LEGEND_WIDTH = 0.085  # inches a character
LEGEND_LINES = 16  # of a column that is as high as a panel
DODGE = 4.0  # points between two series at one x
DPI = 200  # of the PNG


def draw(runs: Iterable[TrainingRun], figure: Figure, path: Path) -> list[Path]:
    """Draw a figure; write `<path>.pdf` and `<path>.png`.

    Returns:
        The files.

    Raises:
        UserError: A key or metric that it needs is in no run.
    """
    import matplotlib

    found = points(runs, figure)
    with matplotlib.rc_context(style()):
        return save(make(found, figure), path, DPI)


def make(found: Sequence[Point], figure: Figure) -> Any:
    """Return the matplotlib figure of these points: panels side by side, one legend."""
    from matplotlib.figure import Figure as Canvas

    panels = sorted({point.panel for point in found})
    series = list(dict.fromkeys(point.series for point in found))
    looks = {name: _look(number) for number, name in enumerate(sorted(series, key=_by_number))}
    shapes = _shapes(found)
    labels = [*looks, *shapes]
    columns = 1 + len(labels) // LEGEND_LINES
    legend_width = LEGEND_WIDTH * max(map(len, labels), default=0) + 0.6
    width = PANEL_WIDTH * len(panels) + legend_width * columns
    canvas = Canvas(figsize=(width, PANEL_HEIGHT + 0.3), layout="constrained")
    axes = canvas.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    has_front = False
    for axis, panel in zip(axes, panels, strict=True):
        here = [point for point in found if point.panel == panel]
        for number, name in enumerate(looks):
            next_to = DODGE * (number - (len(looks) - 1) / 2) if figure.lines else 0.0
            mine = [p for p in here if p.series == name]
            _draw_series(axis, mine, looks[name], shapes, figure, next_to)
        if figure.pareto:
            has_front |= _draw_front(axis, [p for p in here if p.x is not None], figure.pareto)
        if figure.log_x:
            _log(axis, sorted({p.x for p in here if p.x is not None}), own=not figure.points)
        axis.set_xlabel(figure.x_label)
        axis.set_title(panel)
    axes[0].set_ylabel(figure.y_label)
    canvas.suptitle(figure.title, x=0.01, horizontalalignment="left")
    level = {point.series for point in found if point.x is None}
    _legend(canvas, looks, shapes, level, has_front, columns)
    return canvas


def _look(number: int) -> dict[str, Any]:
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
    }


def _shapes(found: Sequence[Point]) -> dict[str, str]:
    """Return point name -> marker, if the series does not tell the points apart."""
    names = sorted({point.name for point in found} - {""}, key=_by_number)
    return {name: MARKERS[n % len(MARKERS)] for n, name in enumerate(names)}


def _draw_series(
    axis: Any,
    mine: Sequence[Point],
    look: dict[str, Any],
    shapes: dict[str, str],
    figure: Figure,
    next_to: float,
) -> None:
    """Draw the points of one series with their intervals; points without x as level bands.

    Everything is moved by `next_to` typographic points, so that intervals at one x do not hide each
    other.
    """
    from matplotlib.transforms import ScaledTranslation

    moved = axis.transData + ScaledTranslation(next_to / 72, 0, axis.figure.dpi_scale_trans)
    for point in mine:
        half = point.y.half_width or 0.0
        if point.x is None:
            axis.axhline(point.y.mean, color=look["color"], linestyle="--")
            low, high = point.y.mean - half, point.y.mean + half
            axis.axhspan(low, high, color=look["color"], alpha=0.12, linewidth=0)
            continue
        shown = look | ({"marker": shapes[point.name]} if point.name in shapes else {})
        shown |= {"linestyle": "", "transform": moved}
        axis.errorbar(point.x, point.y.mean, yerr=half or None, capsize=3, **shown)
        axis.update_datalim([(point.x, point.y.mean + sign * half) for sign in (-1, 1)])
    placed = [(point.x, point.y.mean) for point in mine if point.x is not None]
    if figure.lines and len(placed) > 1:
        axis.plot(*zip(*placed, strict=True), color=look["color"], transform=moved)
    axis.autoscale_view()


def _draw_front(axis: Any, here: Sequence[Point], better: Any) -> bool:
    """Draw the Pareto front as steps; return whether there is a line, which takes two points."""
    best = front(here, better)
    where = "pre" if better == "max" else "post"
    xs, ys = [point.x for point in best], [point.y.mean for point in best]
    axis.step(xs, ys, where=where, color="0.4", linestyle=":", zorder=1)
    return len(best) > 1


def _log(axis: Any, xs: Sequence[float], own: bool) -> None:
    """Make x logarithmic, with the values' own ticks or with those of 1, 2 and 5.

    Measured values within a factor of 5 keep the linear axis: they would have one tick or none. So
    does 0, which has no place on a logarithmic one.
    """
    from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, StrMethodFormatter

    if not xs or xs[0] <= 0 or (not own and xs[-1] < 5 * xs[0]):
        return
    axis.set_xscale("log")
    if own:
        axis.xaxis.set_major_locator(FixedLocator(xs))
        axis.xaxis.set_minor_locator(FixedLocator([]))
    else:
        axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def _legend(
    canvas: Any,
    looks: dict[str, dict[str, Any]],
    shapes: dict[str, str],
    level: set[str],
    has_front: bool,
    columns: int,
) -> None:
    """Put one legend to the right of the panels."""
    from matplotlib.lines import Line2D

    handles = []
    for name, look in looks.items():
        plain_line = bool(shapes) or name in level
        shown = look | ({"marker": ""} if plain_line else {})
        style: Any = "--" if name in level else "-"
        handles.append(Line2D([], [], linestyle=style, label=name, **shown))
    handles += [
        Line2D([], [], color="0.3", marker=marker, linestyle="", label=name)
        for name, marker in shapes.items()
    ]
    if has_front:
        handles.append(Line2D([], [], color="0.4", linestyle=":", label="Pareto front"))
    canvas.legend(handles=handles, loc="outside right upper", frameon=False, ncols=columns)


def _by_number(name: str) -> tuple[float, str]:
    """Sort series by the numbers in their names, then by name."""
    try:
        return float(name.split(" ")[-1]), name
    except ValueError:
        return -1.0, name
