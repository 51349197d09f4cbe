"""The budget of a table's cells, steps and images, with a warning if it is unequal."""

from collections import defaultdict
from collections.abc import Mapping

from sip.records.read import TrainingRun
from sip.tables.cells import Place, TableCell
from sip.tables.layout import TableLayout, listed

Group = dict[tuple[int, ...], list[str]]


def budget_notes(found: Mapping[Place, TableCell], layout: TableLayout) -> list[str]:
    """Return a line on the budget of each block's column, and one if its rows' differ."""
    columns: dict[tuple[str, str], dict[str, list[TrainingRun]]] = defaultdict(dict)
    for (block, row, column), cell in found.items():
        if cell.runs:
            columns[block, column][layout.row_name(row)] = list(cell.runs.values())
    lines: list[str] = []
    equal: dict[str, list[str]] = defaultdict(list)
    for (block, column), rows in sorted(columns.items(), key=lambda item: _place(*item[0])):
        name = layout.place_name(block, "", column)
        steps = _by(rows, "steps")
        real = _by(rows, "num_real")
        if len(steps) == 1 and len(real) == 1:
            images = f"{_numbers(next(iter(real)))} real images"
            equal[f"{_numbers(next(iter(steps)))} steps, {images}"].append(name)
        for what, group in (("steps", steps), ("real images", real)):
            if len(group) > 1:
                texts = [f"{_numbers(n)} ({listed(sorted(r))})" for n, r in sorted(group.items())]
                lines.append(f"UNEQUAL BUDGET, {name}: {what} {'; '.join(texts)}.")
    lines = [f"Budget of {', '.join(names)}: {text}." for text, names in equal.items()] + lines
    generated: dict[str, Group] = {}
    for block in sorted({block for block, _ in columns}):
        here: dict[str, list[TrainingRun]] = defaultdict(list)
        for (b, _), rows in columns.items():
            for row, runs in rows.items():
                here[row] += runs if b == block else []
        generated[block] = _by({row: runs for row, runs in here.items() if runs}, "num_generated")
    for block, group in generated.items():
        texts = [f"{_numbers(n)} ({listed(sorted(r))})" for n, r in sorted(group.items()) if any(n)]
        if texts:
            lines.append(f"Added images{f', {block}' if block else ''}: {'; '.join(texts)}.")
    return lines


def _place(block: str, column: str) -> tuple[str, bool, float, str]:
    """Return the sort key of a column: numbers by size, before words."""
    try:
        return block, False, float(column), column
    except ValueError:
        return block, True, 0.0, column


def _by(rows: Mapping[str, list[TrainingRun]], key: str) -> Group:
    """Return the values of a summary's key over a row's runs -> the rows that have them."""
    groups: Group = defaultdict(list)
    for row, runs in rows.items():
        groups[tuple(sorted({getattr(run.summary, key) for run in runs}))].append(row)
    return groups


def _numbers(values: tuple[int, ...]) -> str:
    return f"{values[0]:,}" if len(values) == 1 else f"{values[0]:,} to {values[-1]:,}"
