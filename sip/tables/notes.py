"""Notes below a table: what its numbers mean, and how far to trust them."""

import math
from collections.abc import Mapping, Sequence

from sip.core.text import counted, join_first
from sip.records.read import TrainingRun
from sip.tables.cells import EFFECT, Comparison, Place, TableCell, compare
from sip.tables.layout import AUTO, MEAN, PARTS, TableLayout
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
        against = "each of its parts" if layout.control == PARTS else " or ".join(controls)
        return [
            f"Bold: differs from {against}; the 95 % interval of the paired difference excludes 0, "
            "and p < 0.05 after Holm's correction for the comparisons of the column."
        ]
    if layout.control in (None, PARTS, AUTO):
        return []
    rows = join_first(layout.order({row for _, row, _ in found}), 6)
    return [
        f"Nothing is compared: no row is called {layout.control} (table.control); there are {rows}."
    ]


def comparison_notes(layout: TableLayout, compared: Sequence[Comparison]) -> list[str]:
    """Return how rows are compared."""
    if not compared:
        return []
    lines = [
        "Differences are paired by seed, between runs tested on the same images: mean ± half-width "
        "of the Student-t 95 % interval (number of pairs); p by a paired t-test, and after Holm's "
        "correction."
    ]
    if any(comparison.images for comparison in compared):
        lines.append(
            "Over images: 95 % interval of a paired bootstrap over the test images; McNemar: of "
            "several seeds, twice the median of their exact p-values."
        )
    lines.append(
        f"Seeds: number that a paired t-test needs to detect {EFFECT} points with 80 % power "
        "(two-sided, 5 %) at the observed spread."
    )
    unchecked = [c for c in compared if not c.checked and c.column != MEAN]
    if unchecked:
        lines.append(
            f"{counted(len(unchecked), 'comparison')} without stored predictions: not checked that "
            "both were tested on the same images."
        )
    return lines


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
            f"{block}: {layout.arm} against the best baseline ({best.row}), {column}: {ours} "
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
