"""Notes below a table: what its numbers mean, and how far to trust them."""

import math
from collections.abc import Mapping, Sequence

from sip.core.text import counted, join_first
from sip.records.read import IN_PERCENT, TrainingRun
from sip.tables.cells import EFFECT, Comparison, Place, TableCell, compare
from sip.tables.layout import AUTO, MEAN, NONE, PARTS, SEPARATOR, TableLayout
from sip.tables.numbers import p_text, value_text

SOURCE = "arXiv 2302.02070, mean over its seven data sets"


def value_note(layout: TableLayout) -> str:
    """Return what a cell holds."""
    unit = ", in %" if layout.value.startswith(("test/top", "val/top")) else ""
    return (
        f"{layout.value}{unit}: mean ± half-width of the Student-t 95 % interval over seeds "
        "(number of seeds); no interval below 3 seeds."
    )


def control_note(
    layout: TableLayout, found: Mapping[Place, TableCell], compared: Sequence[Comparison]
) -> list[str]:
    """Return what bold means, or why nothing is compared."""
    if compared:
        controls = dict.fromkeys(comparison.against for comparison in compared)
        names = " or ".join(map(layout.row_name, controls))
        against = "each of its parts" if layout.control == PARTS else names
        return [
            f"Bold: differs from {against}; the 95 % interval of the paired difference excludes 0, "
            "and p < 0.05 after Holm's correction for the comparisons of the column.",
            *_chosen_controls(layout, found),
        ]
    if layout.control in (None, PARTS, AUTO):
        return []
    rows = join_first(list(map(layout.row_name, _rows(layout, found))), 6)
    return [
        f"Nothing is compared: no row is called {layout.control} (table.control); there are {rows}."
    ]


def _chosen_controls(layout: TableLayout, found: Mapping[Place, TableCell]) -> list[str]:
    """Return which row each block is compared with, if there was a choice."""
    lines = []
    for block in sorted({block for block, _, _ in found}):
        rows = _rows(layout, {place: cell for place, cell in found.items() if place[0] == block})
        candidates = layout.control_candidates(rows)
        if len(candidates) < 2:
            continue
        begins = NONE if layout.control == AUTO else layout.control
        why = f"{len(candidates)} rows begin with {begins}"
        if layout.control == AUTO and candidates[0].split(SEPARATOR)[0] != NONE:
            why = "no row is without augmentation"
        first, *others = map(layout.row_name, candidates)
        of = f"{block}: c" if block else "C"
        lines.append(
            f"{of}ompared with {first}, the first of them, since {why}; table.control= names "
            f"another: {' | '.join(others)}."
        )
    return lines


def _rows(layout: TableLayout, found: Mapping[Place, TableCell]) -> list[str]:
    return layout.order({row for _, row, _ in found})


def comparison_notes(layout: TableLayout, compared: Sequence[Comparison]) -> list[str]:
    """Return how rows are compared."""
    if not compared:
        return []
    lines = [
        f"difference{_points(layout)}: of the row to the one it stands against, paired by seed, "
        "between runs tested on the same images; mean ± half-width of the Student-t 95 % "
        "interval (number of pairs).",
        "p (t-test), p (Holm): of the paired t-test over seeds, as it is and after Holm's "
        "correction for the comparisons of the column; both need 3 pairs.",
    ]
    if any(comparison.images for comparison in compared):
        lines.append(
            "over images: 95 % interval of the difference in points, by a paired bootstrap over "
            "the test images; p (McNemar): whether each gets as many images right that the other "
            "one does not, exact; of several seeds, twice the median of their p-values."
        )
    lines.append(
        f"seeds needed: by a paired t-test to detect {EFFECT} points with 80 % power (two-sided, "
        "5 %) at the observed spread of the differences."
    )
    unchecked = [c for c in compared if not c.checked and c.column != MEAN]
    if unchecked:
        lines.append(
            f"{counted(len(unchecked), 'comparison')} without stored predictions: not checked that "
            "both were tested on the same images."
        )
    return lines


def _points(layout: TableLayout) -> str:
    return ", in points" if layout.value.endswith(IN_PERCENT) else ""


def gain_notes(found: Mapping[Place, TableCell], layout: TableLayout) -> list[str]:
    """Return the gain over the best baseline and the published one, a line per block."""
    if layout.arm is None:
        return []
    lines = []
    for block in sorted({block for block, _, _ in found}):
        columns = {column for b, _, column in found if b == block}
        column = MEAN if MEAN in columns else min(columns)
        arm = found.get((block, layout.arm, column))
        cells = [found.get((block, name, column)) for name in layout.baselines]
        baselines = [cell for cell in cells if cell is not None]
        if arm is None or not baselines:
            continue
        best = max(baselines, key=lambda cell: cell.estimate.mean)
        compared = compare(arm, best, layout.value)
        if compared is None:
            continue
        ours = value_text(compared.difference.estimate, "+")
        line = (
            f"{block}: {layout.row_name(layout.arm)} against the best baseline "
            f"({layout.row_name(best.row)}), {layout.column_name(column)}: {ours} "
            f"points, p {p_text(compared.difference.p_value)}"
        )
        if block in layout.quoted:
            line += f"; the paper reports {layout.quoted[block]:+.2f} ({SOURCE})"
        lines.append(line + ".")
    return lines


def diverged_note(runs: Sequence[TrainingRun], layout: TableLayout) -> list[str]:
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


def runs_note(runs: Sequence[TrainingRun]) -> str:
    """Return which runs the table is made from."""
    commits = sorted({str(run.summary.commit)[:10] for run in runs})
    names = {name for run in runs for name in run.summary.experiments if name}
    of = f" of {', '.join(sorted(names))}" if names else ""
    return (
        f"{counted(len(runs), 'run')}{of}, commit {', '.join(commits)}. Checkpoints are chosen on "
        "validation; the test split is read once per run."
    )
