"""Draw a forest plot: groups side by side on a slide, below each other in a column of a paper."""

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sip.tables.forest import Forest, ForestGroup, ForestRow
from sip.tables.numbers import interval_text, p_text
from sip.tables.saving import save, style
from sip.tables.statistics import LEVEL
from sip.tables.words import heading, metric_words

COLOURS = ("#4D5A66", "#0072B2")  # of ordinary rows, and of highlighted ones
WIDTH = {"slide": 10.0, "column": 3.4}  # inches
FONT = {"slide": 10.5, "column": 7.0}  # points
ROW = 2.1  # height of a row, in the font's size
HEAD, FOOT = 3.2, 3.6  # a group's title, its axis; in the font's size
TITLE, GROUP, NOTE = 1.2, 1.1, 0.85  # size of titles and notes, in the font's size
CHARACTER = 0.53  # width of a character at most, in its size
BOLD = 1.15  # how much wider bold ones are
NUM_TICKS = 5  # at most
LABEL = {"slide": 36, "column": 20}  # characters of a row's label in a line
MAX_CONTROL = 24  # characters of a control's name in a group's head
LINE = 1.35  # height of a line, in the font's size
MARGIN = 0.06  # of the range, left and right of the intervals
DPI = 200  # of the PNG


def draw_forest(groups: Sequence[ForestGroup], forest: Forest, path: Path) -> list[Path]:
    """Write the figure as PDF and PNG; return the files."""
    import matplotlib

    own: Any = {"axes.grid": False, "axes.spines.left": False, "font.size": FONT[forest.width]}
    with matplotlib.rc_context(style(**own)):
        return save(make_forest(groups, forest), path, DPI)


def make_forest(groups: Sequence[ForestGroup], forest: Forest) -> Any:
    """Return the matplotlib figure."""
    from matplotlib.figure import Figure as Canvas
    from matplotlib.ticker import MaxNLocator

    is_slide = forest.width == "slide"
    names = list(dict.fromkeys(row.name for group in groups for row in group.rows))
    labels = {row.name: _label(row.label, forest) for group in groups for row in group.rows}
    height = ROW + LINE * max(label.count("\n") for label in labels.values())
    orders = [names if is_slide else [row.name for row in group.rows] for group in groups]
    title, lines = _wrapped(_title(groups, forest), TITLE * BOLD, forest), _notes(groups, forest)
    heights = [height * len(order) for order in orders]
    inner = max(heights) + HEAD if is_slide else sum(heights) + HEAD * len(heights)
    outer = FOOT + LINE * NOTE * len(lines) + LINE * TITLE * len(title) + 1
    size = (WIDTH[forest.width], (inner + outer) * FONT[forest.width] / 72)
    canvas = Canvas(figsize=size, layout="constrained", facecolor="white")
    grid = {"width_ratios": None, "height_ratios": None if is_slide else heights}
    shape = (1, len(groups)) if is_slide else (len(groups), 1)
    axes = canvas.subplots(*shape, squeeze=False, sharex=True, gridspec_kw=grid).flat
    for number, (axis, group, order) in enumerate(zip(axes, groups, orders, strict=True)):
        _draw_group(axis, group, order, forest)
        axis.set_yticklabels([labels[name] for name in order])
        _write_numbers(axis, group, order, forest)
        if is_slide and number:
            axis.tick_params(labelleft=False)
        if is_slide or number == len(groups) - 1:
            axis.set_xlabel(_x_label(forest, short=is_slide))
    axes[0].set_xlim(*_limits(groups))
    axes[0].xaxis.set_major_locator(MaxNLocator(NUM_TICKS))
    if title:
        canvas.suptitle(
            "\n".join(title), x=0.01, ha="left", weight="bold", size=TITLE * FONT[forest.width]
        )
    canvas.supxlabel(
        "\n".join(lines), x=0.01, ha="left", color="0.35", linespacing=LINE,
        size=NOTE * FONT[forest.width],
    )  # fmt: skip
    return canvas


def _draw_group(axis: Any, group: ForestGroup, order: Sequence[str], forest: Forest) -> None:
    """Draw the differences of a group, the first name on top."""
    title = forest.words(group.name)
    size = FONT[forest.width]
    axis.set_title(title, loc="left", weight="bold", size=GROUP * size, pad=1.9 * size)
    unit = " %" if metric_words(forest.value).endswith("%") else ""
    name = "reference" if _is_long(group) else group.control
    control = f"{name}: {group.control_mean:.1f}{unit}" if name else ""
    axis.annotate(control, (0, 1), (0, 0.5 * size), "axes fraction", "offset points", color="0.35",
                  size=NOTE * size)  # fmt: skip
    axis.axvline(0, color="0.55", linewidth=1)
    for row in group.rows:
        place = -order.index(row.name)
        colour = COLOURS[is_highlighted(row.name, forest)]
        half = row.half_width
        if half is not None:
            ends = (row.mean - half, row.mean + half)
            axis.plot(ends, (place, place), color=colour, linewidth=2, solid_capstyle="butt")
        face = colour if is_clear(row) else "white"
        axis.plot(row.mean, place, marker="o", color=colour, markerfacecolor=face,
                  markersize=0.65 * FONT[forest.width], markeredgewidth=1.5)  # fmt: skip
    axis.set_ylim(-len(order) + 0.4, 0.6)
    axis.set_yticks([-number for number in range(len(order))])
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)


def _write_numbers(axis: Any, group: ForestGroup, order: Sequence[str], forest: Forest) -> None:
    """Write the numbers of each row next to it, right of the axis."""
    for row in group.rows:
        axis.text(1.02, -order.index(row.name), number_text(row, forest), va="center",
                  transform=axis.get_yaxis_transform(), size=NOTE * FONT[forest.width])  # fmt: skip


def number_text(row: ForestRow, forest: Forest) -> str:
    """Return the numbers of a row that `numbers` asks for, such as "+6.16 ± 3.14, n = 5"."""
    difference = interval_text(row.mean, row.half_width, "+").replace("-", "−")
    p_value = p_text(row.holm_p).replace("-", "–")
    texts = {
        "difference": difference,
        "n": f"n = {row.num_pairs}",
        "p": f"p {p_value}" if p_value.startswith("<") else f"p = {p_value}",
    }
    return ", ".join(texts[name] for name in forest.numbers)


def is_highlighted(name: str, forest: Forest) -> bool:
    """Return whether a row has the part that gives it the second colour."""
    return forest.highlight is not None and forest.highlight in re.split("_|, ", name)


def is_clear(row: ForestRow) -> bool:
    """Return whether the difference is significant after Holm's correction."""
    return row.holm_p is not None and row.holm_p < 1 - LEVEL


def _limits(groups: Sequence[ForestGroup]) -> tuple[float, float]:
    """Return the ends of the axis: all intervals and zero are inside."""
    rows = [row for group in groups for row in group.rows]
    halves = [row.half_width or 0.0 for row in rows]
    low = min(0.0, *(row.mean - half for row, half in zip(rows, halves, strict=True)))
    high = max(0.0, *(row.mean + half for row, half in zip(rows, halves, strict=True)))
    margin = MARGIN * (high - low or 1.0)
    return low - margin, high + margin


def _x_label(forest: Forest, short: bool) -> str:
    if forest.x_label is not None:
        return forest.x_label
    words = metric_words(forest.value)
    if not words.endswith(", %"):
        return f"difference in {words}"
    return "difference, points" if short else f"difference in {words[:-3]}, points"


def _notes(groups: Sequence[ForestGroup], forest: Forest) -> list[str]:
    """Return what the marks mean, in lines that fit the figure."""
    seeds = _range([row.num_pairs for group in groups for row in group.rows])
    text = (
        f"{heading(forest.value)}. Points: mean of the paired differences over "
        f"{seeds} {'seed' if seeds == '1' else 'seeds'}. Lines: Student-t 95 % interval of a "
        f"single comparison. {_tested(groups)}"
    )
    if any(group.confounded for group in groups):
        text += " CONFOUNDED: base transforms differ too, as the names of the rows state."
    references = dict.fromkeys(group.control for group in groups if _is_long(group))
    if references and forest.title is not None:
        text += f" Reference: {'; '.join(references)}."
    return _wrapped(text, NOTE, forest)


def _tested(groups: Sequence[ForestGroup]) -> str:
    """Return what a filled point means, or that nothing is tested."""
    rows = [row for group in groups for row in group.rows]
    if all(row.holm_p is None for row in rows):
        return "Hollow: not tested, these differences explore."
    compared = _range([group.num_compared for group in groups])
    what, noun = "", "comparison" if compared == "1" else "comparisons"
    if any(group.explores for group in groups):
        what, noun = " a claim with", "claims. Other differences are not tested: they explore"
    mark = f"Filled:{what}" if any(is_clear(row) for row in rows) else "None has"
    return f"{mark} p < 0.05 after Holm's correction for {compared} {noun}."


def _title(groups: Sequence[ForestGroup], forest: Forest) -> str:
    if forest.title is not None:
        return forest.title
    if forest.claims:
        return "Claims fixed before the runs"
    return f"Difference to {'; '.join(dict.fromkeys(group.control for group in groups))}"


def _is_long(group: ForestGroup) -> bool:
    """Return whether a control's name is too long for the head of its group."""
    return len(group.control) > MAX_CONTROL


def _label(text: str, forest: Forest) -> str:
    """Return a row's label in lines."""
    return "\n".join(textwrap.wrap(text, LABEL[forest.width], break_long_words=False)) or text


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def _wrapped(text: str, size: float, forest: Forest) -> list[str]:
    """Return a text in lines as long as the figure is wide."""
    inches = CHARACTER * size * FONT[forest.width] / 72
    return textwrap.wrap(text, int(WIDTH[forest.width] / inches))
