"""From runs to what is printed: grids of cells, and notes that say how far to trust them."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sip.records.read import TrainingRun
from sip.tables.auto import resolved
from sip.tables.budget import budget_notes
from sip.tables.cells import Comparison, Place, TableCell, cells, comparisons
from sip.tables.layout import MEAN, TableLayout
from sip.tables.missing import gaps
from sip.tables.notes import (
    comparison_notes,
    control_note,
    diverged_note,
    gain_notes,
    runs_note,
    value_note,
)
from sip.tables.numbers import p_text, value_text
from sip.tables.query import require_keys, require_metric
from sip.tables.selected import Choice, select
from sip.tables.stacks import stack_rows

IMPOSSIBLE = "n/a"  # of a cell that no command can fill


@dataclass(frozen=True)
class Text:
    """One field of a grid."""

    text: str
    bold: bool = False


@dataclass(frozen=True)
class TextGrid:
    """A table as it is printed.

    Attributes:
        compares: Whether its rows are comparisons.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Text]]
    compares: bool = False


@dataclass
class Document:
    """All of a table.

    Attributes:
        grids: A block's values, then its comparisons.
        notes: What applies to all of the table, a line each.
        comparison_notes: What applies to the comparisons.
        commands: What fills the gaps: name -> command.
        fingerprints: Of the runs.
        found, compared: What the grids show, in full.
        names: Row -> its name in words, as far as it has another one.
    """

    title: str
    grids: list[TextGrid] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    comparison_notes: list[str] = field(default_factory=list)
    commands: list[tuple[str, str]] = field(default_factory=list)
    fingerprints: list[str] = field(default_factory=list)
    found: dict[Place, TableCell] = field(default_factory=dict)
    compared: list[Comparison] = field(default_factory=list)
    names: Mapping[str, str] = field(default_factory=dict)


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
        empty = {gap.place for gap in lacking if gap.whole}
        result.grids.append(_values(block, found, empty, compared, layout))
        if any(comparison.block == block for comparison in compared):
            result.grids.append(_comparisons(block, compared, layout, found))
    used = [run for cell in found.values() for _, run in sorted(cell.runs.items())]
    result.notes += [*notes, value_note(layout), *control_note(layout, found, compared)]
    for choice in choices:
        line = choice.line(layout)
        result.notes.append(f"Chosen on validation: {line}")
    if any(text.text == IMPOSSIBLE for grid in result.grids for row in grid.rows for text in row):
        result.notes.append(
            f"{IMPOSSIBLE}: no run can be there, since a setting plays no part in the arm or the "
            "configuration refuses it."
        )
    result.notes += [*gain_notes(found, layout), *budget_notes(found, layout)]
    result.notes += [*diverged_note(runs, layout), runs_note(used)]
    result.notes += [gap.line(layout) for gap in lacking]
    result.comparison_notes = comparison_notes(layout, compared)
    result.commands = [(gap.line(layout), gap.command) for gap in lacking]
    result.names = layout.row_words
    result.fingerprints = [run.summary.fingerprint for run in used]
    return result


def _values(
    block: str,
    found: dict[Place, TableCell],
    empty: Collection[Place],
    compared: Sequence[Comparison],
    layout: TableLayout,
) -> TextGrid:
    """Return the values of a block; `empty` are the cells that could be filled."""
    here = [place for place in found if place[0] == block]
    columns = layout.column_order({column for _, _, column in here} - {MEAN})
    if any(column == MEAN for _, _, column in here):
        columns.append(MEAN)
    rows = []
    for row in layout.order(row for _, row, _ in here):
        line = [Text(layout.row_name(row))]
        for column in columns:
            cell = found.get((block, row, column))
            mine = [c for c in compared if (c.block, c.row, c.column) == (block, row, column)]
            bold = bool(mine) and all(comparison.is_clear for comparison in mine)
            if cell is None:
                waits = column == MEAN and any(place[:2] == (block, row) for place in empty)
                line.append(
                    Text("missing" if waits or (block, row, column) in empty else IMPOSSIBLE)
                )
                continue
            line.append(Text(value_text(cell.estimate), bold))
        also = found.get((block, row, columns[0])) if len(columns) == 1 else None
        line += [Text(_also(also, name)) for name in layout.also if len(columns) == 1]
        rows.append(line)
    also_names = layout.also if len(columns) == 1 else ()
    values = [layout.column_name(column) or layout.value for column in columns]
    header = [", ".join(layout.rows), *values, *also_names]
    if layout.stack:
        runs = [run for place in here for run in found[place].runs.values()]
        rows += [[Text(text) for text in row] for row in stack_rows(runs, header)]
    title = f"{layout.block}: {block}" if block else layout.title
    if layout.columns and len(columns) > 1:
        title += f", columns: {layout.columns}"
    return TextGrid(title, header, rows)


def _also(cell: TableCell | None, name: str) -> str:
    if cell is None:
        return "-"
    values = [run.metric(name) for run in cell.runs.values()]
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return "-"
    mean = sum(known) / len(known)
    return f"{mean:,.0f}" if abs(mean) >= 100 or mean == int(mean) else f"{mean:.3g}"


COMPARED = (
    *("difference", "p (t-test)", "p (Holm)", "over images", "p (McNemar)"),
    "seeds needed",
)


def _comparisons(
    block: str, compared: Sequence[Comparison], layout: TableLayout, found: dict[Place, TableCell]
) -> TextGrid:
    here = [comparison for comparison in compared if comparison.block == block]
    rows = layout.order(row for b, row, _ in found if b == block)
    columns = layout.column_order({comparison.column for comparison in here} - {MEAN})
    here.sort(key=lambda c: ([*columns, MEAN].index(c.column), rows.index(c.row)))
    several = len({comparison.column for comparison in here}) > 1
    lines = []
    for comparison in here:
        line = [
            Text(layout.row_name(comparison.row)),
            Text(layout.row_name(comparison.against)),
            *([Text(layout.column_name(comparison.column))] if several else []),
        ]
        lines.append([*line, *comparison_texts(comparison)])
    header = [", ".join(layout.rows), "against", *(["column"] if several else []), *COMPARED]
    title = f"{layout.block}: {block}, differences" if block else "Differences"
    return TextGrid(title, header, lines, compares=True)


def comparison_texts(comparison: Comparison) -> list[Text]:
    """Return a comparison's fields, in the order of COMPARED."""
    images = comparison.images
    return [
        Text(value_text(comparison.difference.estimate, "+"), comparison.is_clear),
        Text(p_text(comparison.difference.p_value)),
        Text(p_text(comparison.holm_p)),
        Text(f"{images.low:+.2f} to {images.high:+.2f}" if images else "-"),
        Text(p_text(images.p_value if images else None)),
        Text("-" if comparison.seeds_needed is None else f"{comparison.seeds_needed:,}"),
    ]
