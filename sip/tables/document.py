"""From runs to what is printed: grids of cells, and notes that say how far to trust them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sip.core.text import counted, join_first
from sip.records.read import TrainingRun
from sip.tables.auto import resolved
from sip.tables.budget import budget_notes
from sip.tables.cells import (
    EFFECT,
    Comparison,
    Place,
    TableCell,
    cells,
    compare,
    comparisons,
)
from sip.tables.layout import AUTO, MEAN, PARTS, TableLayout
from sip.tables.missing import gaps
from sip.tables.query import require_keys, require_metric
from sip.tables.selected import Choice, select
from sip.tables.stacks import stack_rows
from sip.tables.statistics import Estimate

SOURCE = "arXiv 2302.02070, mean over its seven data sets, quoted and not ours"


@dataclass(frozen=True)
class Text:
    """One field of a grid."""

    text: str
    bold: bool = False


@dataclass(frozen=True)
class TextGrid:
    """A table as it is printed."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Text]]


@dataclass
class Document:
    """All of a table.

    Attributes:
        grids: A block's values, then its comparisons.
        notes: The footer, a line each.
        commands: What fills the gaps: name -> command.
        fingerprints: Of the runs.
        found, compared: What the grids show, in full.
    """

    title: str
    grids: list[TextGrid] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    commands: list[tuple[str, str]] = field(default_factory=list)
    fingerprints: list[str] = field(default_factory=list)
    found: dict[Place, TableCell] = field(default_factory=dict)
    compared: list[Comparison] = field(default_factory=list)


def document(
    runs: Iterable[TrainingRun], layout: TableLayout, experiment: str | None = None
) -> Document:
    """Make a table of runs.

    Raises:
        UserError: A key or metric is in no run, two runs are of one cell and seed, or paired runs
            were tested on different images.
    """
    runs = list(runs)
    require_keys(runs, layout.keys)
    require_metric(runs, layout.value)
    layout, notes = resolved(layout, runs, experiment)
    choices: list[Choice] = []
    if layout.select:
        runs, choices = select(runs, layout)
    found = cells(runs, layout)
    compared = comparisons(found, layout)
    lacking = gaps(found, runs, layout, experiment)
    result = Document(layout.title, found=found, compared=compared)
    for block in sorted({block for block, _, _ in found}):
        result.grids.append(_values(block, found, compared, layout))
        if any(one.block == block for one in compared):
            result.grids.append(_comparisons(block, compared, layout, found))
    result.notes += [*notes, *_legend(layout, found, compared)]
    for choice in choices:
        line = choice.line(layout.select, layout.select_by)
        result.notes.append(f"Chosen on validation: {line}")
    result.notes += _gains(found, layout)
    used = [run for cell in found.values() for _, run in sorted(cell.runs.items())]
    result.notes += budget_notes(found)
    result.notes += _diverged(runs, layout)
    result.notes.append(_runs_note(used))
    result.notes += [gap.line() for gap in lacking]
    result.commands = [(gap.line(), gap.command) for gap in lacking]
    result.fingerprints = [run.summary.fingerprint for run in used]
    return result


def _values(
    block: str, found: dict[Place, TableCell], compared: Sequence[Comparison], layout: TableLayout
) -> TextGrid:
    here = [place for place in found if place[0] == block]
    columns = layout.column_order({column for _, _, column in here} - {MEAN})
    if any(column == MEAN for _, _, column in here):
        columns.append(MEAN)
    rows = []
    for row in layout.order(row for _, row, _ in here):
        line = [Text(row)]
        for column in columns:
            cell = found.get((block, row, column))
            mine = [c for c in compared if (c.block, c.row, c.column) == (block, row, column)]
            bold = bool(mine) and all(one.is_clear for one in mine)
            line.append(Text(value_text(cell.estimate), bold) if cell else Text("missing"))
        also = found.get((block, row, columns[0])) if len(columns) == 1 else None
        line += [Text(_also(also, name)) for name in layout.also if len(columns) == 1]
        rows.append(line)
    also_names = layout.also if len(columns) == 1 else ()
    values = [column or layout.value for column in columns]
    header = [", ".join(layout.rows), *values, *also_names]
    if layout.stack:
        runs = [run for place in here for run in found[place].runs.values()]
        rows += [[Text(text) for text in row] for row in stack_rows(runs, header)]
    title = f"{layout.block}: {block}" if block else layout.title
    if layout.columns and len(columns) > 1:
        title += f", columns: {layout.columns}"
    return TextGrid(title, header, rows)


def value_text(value: Estimate, sign: str = "") -> str:
    """Return mean, half of the interval, and n in parentheses."""
    text = f"{value.mean:{sign}.2f}"
    text += "" if value.half_width is None else f" ± {value.half_width:.2f}"
    return f"{text} ({value.num})"


def _also(cell: TableCell | None, name: str) -> str:
    if cell is None:
        return "-"
    values = [run.metric(name) for run in cell.runs.values()]
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = sum(known) / len(known)
    return f"{mean:,.0f}" if abs(mean) >= 100 or mean == int(mean) else f"{mean:.3g}"


COMPARED = ("difference, points", "p (t-test)", "p (Holm)", "over images", "p (McNemar)", "seeds")


def _comparisons(
    block: str, compared: Sequence[Comparison], layout: TableLayout, found: dict[Place, TableCell]
) -> TextGrid:
    here = [one for one in compared if one.block == block]
    rows = layout.order(row for b, row, _ in found if b == block)
    columns = layout.column_order({one.column for one in here} - {MEAN})
    here.sort(key=lambda c: ([*columns, MEAN].index(c.column), rows.index(c.row)))
    several = len({one.column for one in here}) > 1
    lines = []
    for one in here:
        line = [Text(one.row), Text(one.against), *([Text(one.column)] if several else [])]
        lines.append([*line, *comparison_texts(one)])
    header = [", ".join(layout.rows), "against", *(["column"] if several else []), *COMPARED]
    title = f"{layout.block}: {block}, differences" if block else "Differences"
    return TextGrid(title, header, lines)


def comparison_texts(one: Comparison) -> list[Text]:
    """Return a comparison's fields, in the order of COMPARED."""
    images = one.images
    return [
        Text(value_text(one.difference.estimate, "+"), one.is_clear),
        Text(p_text(one.difference.p_value)),
        Text(p_text(one.holm_p)),
        Text(f"{images.low:+.2f} to {images.high:+.2f}" if images else "-"),
        Text(p_text(images.p_value if images else None)),
        Text("-" if one.seeds_needed is None else f"{one.seeds_needed:,}"),
    ]


def p_text(p_value: float | None) -> str:
    """Return a p-value with three digits; "-" for None."""
    if p_value is None:
        return "-"
    return "< 0.001" if p_value < 0.0005 else f"{p_value:.3f}"


def _legend(
    layout: TableLayout, found: Mapping[Place, TableCell], compared: Sequence[Comparison]
) -> list[str]:
    unit = ", in %" if layout.value.startswith(("test/top", "val/top")) else ""
    lines = [
        f"{layout.value}{unit}: mean ± half of the Student-t 95 % interval over seeds (number of "
        "seeds); fewer than 3 seeds give no interval."
    ]
    if not compared:
        if layout.control not in (None, PARTS, AUTO):
            rows = join_first(layout.order({row for _, row, _ in found}), 6)
            lines.append(
                f"Nothing is compared: no row is called {layout.control} (table.control); there "
                f"are {rows}."
            )
        return lines
    controls = dict.fromkeys(one.against for one in compared)
    against = "each of its parts" if layout.control == PARTS else " or ".join(controls)
    lines.append(
        f"Differences are paired: same seeds, same images. Bold: the interval of the difference "
        f"against {against} leaves out 0 and Holm's p over the column's comparisons is below 0.05."
    )
    if any(one.images for one in compared):
        lines.append(
            "Over images: percentile interval of the paired bootstrap over test images; McNemar: "
            "twice the median of the seeds' exact p-values."
        )
    lines.append(
        f"Seeds: how many would see {EFFECT} points (80 % power, two-sided 5 %) with the spread "
        "that was observed."
    )
    unchecked = [one for one in compared if not one.checked and one.column != MEAN]
    if unchecked:
        lines.append(
            f"{len(unchecked)} comparisons: no stored predictions, so it is not checked that both "
            "were tested on the same images."
        )
    return lines


def _gains(found: dict[Place, TableCell], layout: TableLayout) -> list[str]:
    """Return our gain over the best baseline next to the published one, block by block."""
    if layout.arm is None:
        return []
    lines = []
    for block in sorted({block for block, _, _ in found}):
        columns = {column for b, _, column in found if b == block}
        column = MEAN if MEAN in columns else min(columns)
        arm = found.get((block, layout.arm, column))
        rivals = [found.get((block, name, column)) for name in layout.baselines]
        there = [cell for cell in rivals if cell is not None]
        if arm is None or not there:
            continue
        best = max(there, key=lambda cell: cell.estimate.mean)
        compared = compare(arm, best, layout.value)
        if compared is None:
            continue
        ours = value_text(compared.difference.estimate, "+")
        line = (
            f"{block}: {layout.arm} against the best baseline ({best.row}), {column}: {ours} "
            f"points, p {p_text(compared.difference.p_value)}"
        )
        if block in layout.quoted:
            line += f"; the paper: {layout.quoted[block]:+.2f} ({SOURCE})"
        lines.append(line + ".")
    return lines


def _diverged(runs: Sequence[TrainingRun], layout: TableLayout) -> list[str]:
    """Return a note on the runs whose metric is not a number."""
    names = []
    for run in runs:
        value = run.metric(layout.value)
        if value is not None and not math.isfinite(value):
            names.append(run.folder.name)
    if not names:
        return []
    return [
        f"Diverged, {layout.value} is not a number, and left out: {counted(len(names), 'run')} "
        f"({join_first(names)})."
    ]


def _runs_note(runs: Sequence[TrainingRun]) -> str:
    commits = sorted({str(run.summary.commit)[:10] for run in runs})
    names = {name for run in runs for name in run.summary.experiments if name}
    of = f" of {', '.join(sorted(names))}" if names else ""
    return (
        f"{counted(len(runs), 'run')}{of}, commit {', '.join(commits)}; checkpoints chosen on "
        "validation, test read once a run."
    )
