"""Make what is printed of runs: grids of cells, and notes on how far to trust them."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sip.records.read import TrainingRun
from sip.tables.auto import resolved, rows_note
from sip.tables.bases import base_notes, compared_pairs, confounded
from sip.tables.budget import budget_notes
from sip.tables.cells import Comparison, Place, TableCell, cells, comparisons
from sip.tables.claims import JOIN, ClaimResult, claim_results, missing_notes
from sip.tables.equivalent import Equivalent, equivalents
from sip.tables.layout import MEAN, TableLayout
from sip.tables.missing import gaps, placed, together
from sip.tables.mixed import Entries, mixed_notes, unlike_entries
from sip.tables.notes import (
    claim_notes,
    comparison_notes,
    control_note,
    gain_notes,
    generator_note,
    machine_notes,
    machine_of,
    runs_note,
    tuning_notes,
    unfinished_note,
    value_note,
)
from sip.tables.numbers import p_text, value_text
from sip.tables.query import diverged, matching, require_keys, require_metric, unmeasured
from sip.tables.runs_file import read_runs
from sip.tables.selected import Choice, select
from sip.tables.stacks import stack_rows
from sip.tables.stated import require_rows, rows_to_run
from sip.tables.statistics import estimate
from sip.tables.words import heading, words

IMPOSSIBLE = "n/a"  # of a cell that no command can fill
NOT_RUN = "not run"  # of a claim whose rows are not there


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
        grids: A block's claims, its values, then its comparisons.
        notes: What applies to all of the table, a line each.
        warnings: Those of the notes that say that a comparison is not what it seems; and which runs
            lack the metric.
        comparison_notes: What applies to the comparisons.
        family_notes: Those of the notes without which claims cannot be read; none without a family.
        commands: What fills the gaps: name -> command.
        fingerprints: Fingerprints of the runs.
        found, compared, claims: What the grids show, in full.
        names: Row -> its name in words, as far as it has another one.
        runs: Those of run folders, candidates of a choice and diverged ones too.
        unlike: Folder of a run -> entries of its recipe that should be those of other runs.
        experiments: Those that the runs were selected by.
        layout: With what was chosen from the runs.
    """

    title: str
    grids: list[TextGrid] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    comparison_notes: list[str] = field(default_factory=list)
    family_notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    commands: list[tuple[str, str]] = field(default_factory=list)
    fingerprints: list[str] = field(default_factory=list)
    found: dict[Place, TableCell] = field(default_factory=dict)
    compared: list[Comparison] = field(default_factory=list)
    names: Mapping[str, str] = field(default_factory=dict)
    claims: list[ClaimResult] = field(default_factory=list)
    runs: list[TrainingRun] = field(default_factory=list)
    unlike: dict[Path, Entries] = field(default_factory=dict)
    experiments: tuple[str, ...] = ()
    layout: TableLayout | None = None


def document(
    runs: Iterable[TrainingRun], layout: TableLayout, experiments: Sequence[str] = ()
) -> Document:
    """Make a table of runs.

    Args:
        runs: Finished runs.
        layout: Shape of the table.
        experiments: Those that the runs were selected by; () if by none.

    Raises:
        UserError: A key or metric is in no run, two runs are of one cell and seed, or paired runs
            were tested on different images.
    """
    runs = list(runs)
    require_keys(runs, layout.keys)
    require_metric(runs, layout.value)
    stated = layout.rows
    layout = resolved(layout, runs, experiments)
    runs = [run for run in runs if layout.has_place(run)]
    measured = [run for run in runs if run.metric(layout.value) is not None]
    result = _document(measured, layout, stated, experiments, "")
    result.warnings += unmeasured(runs, layout.value)
    return result


def recomputed(file: Path, layout: TableLayout, experiments: Sequence[str] = ()) -> Document:
    """Make a table of its values per seed and its predictions; no run is needed.

    Args:
        file: `<output>_runs.csv`.
        layout: Whose block, rows and columns are the file's.
        experiments: As for `document`.

    Raises:
        UserError: A file is missing or no such file, or holds another metric.
    """
    stated = layout.rows
    runs, layout = read_runs(file, layout)
    runs = matching(runs, layout.where, "table")
    return replace(_document(runs, layout, stated, experiments, f", from {file.name}"), runs=[])


def _document(
    runs: Sequence[TrainingRun],
    layout: TableLayout,
    stated: Sequence[str],
    experiments: Sequence[str],
    source: str,
) -> Document:
    """Make a table of runs whose rows and columns are known.

    Args:
        stated: The layout's rows before more were added.
        source: Where the runs are from, for the note; "" for run folders.
    """
    candidates = runs
    choices: list[Choice] = []
    if layout.select:
        runs, choices = select(runs, layout)
    found = cells(runs, layout)
    require_rows(found, layout)
    there = placed(runs, layout)
    lacking = gaps(found, there, layout, experiments)
    lacking += rows_to_run(found, there, layout, experiments, {gap.place for gap in lacking})
    empty = {gap.place for gap in lacking if gap.whole}
    result = _assembled(found, layout, rows_note(stated, layout.rows), choices, empty)
    used = [run for cell in found.values() for _, run in sorted(cell.runs.items())]
    result.runs = list(candidates)
    result.experiments = tuple(experiments)
    result.unlike = unlike_entries(found)
    mixed = mixed_notes(result.unlike, found, layout)
    result.warnings += mixed
    result.notes += [
        *mixed,
        *budget_notes(found, layout),
        *diverged(runs, layout.value),
        *generator_note(found),
    ]
    result.notes += [*unfinished_note(used), runs_note(used, source)]
    result.notes += machine_notes(Counter(map(machine_of, used)))
    result.notes += [gap.line(layout) for gap in lacking]
    result.commands = together([(gap.line(layout), gap.command) for gap in lacking])
    return result


def _assembled(
    found: dict[Place, TableCell],
    layout: TableLayout,
    notes: Sequence[str],
    choices: Sequence[Choice],
    empty: Collection[Place],
) -> Document:
    """Make a table of its cells.

    Args:
        notes: On the layout.
        choices: What validation chose.
        empty: Missing cells that could be filled.
    """
    compared = comparisons(found, layout)
    claims = claim_results(found, layout)
    worth = equivalents(found, layout) if layout.equivalent else []
    result = Document(layout.title, found=found, compared=compared, claims=claims, layout=layout)
    for block in sorted({block for block, _, _ in found}):
        if here := [claim for claim in claims if claim.block == block]:
            result.grids.append(_claims(block, here, layout))
        result.grids.append(_values(block, found, empty, compared, layout))
        if (differences := _comparisons(block, compared, layout, found)).rows:
            result.grids.append(differences)
        if any(one.block == block for one in worth):
            result.grids.append(_worth(block, worth, layout))
    pairs = compared_pairs(compared, claims)
    result.warnings = confounded(pairs, found, layout)
    result.notes += [*notes, value_note(layout), *control_note(layout, found, compared)]
    bases = [*base_notes(found, layout), *result.warnings]
    tested = [
        *claim_notes(claims, compared, layout),
        *missing_notes(claims, layout.order({row for _, row, _ in found})),
        *tuning_notes(claims, choices, layout),
    ]
    result.notes += [*bases, *tested]
    if layout.family is not None:
        result.family_notes = [value_note(layout), *bases, *tested]
    for choice in choices:
        if choice.num_candidates > 1:
            result.notes.append(f"Chosen on validation: {choice.line(layout)}")
    if any(text.text == IMPOSSIBLE for grid in result.grids for row in grid.rows for text in row):
        result.notes.append(
            f"{IMPOSSIBLE}: no run can be there, since a setting plays no part in the arm or the "
            "configuration refuses it."
        )
    result.notes += gain_notes(found, layout)
    result.comparison_notes = comparison_notes(layout, compared, claims)
    result.names = layout.row_words
    used = [run for cell in found.values() for _, run in sorted(cell.runs.items())]
    result.fingerprints = [run.fingerprint for run in used]
    return result


def _claims(block: str, claims: Sequence[ClaimResult], layout: TableLayout) -> TextGrid:
    several = len({claim.column for claim in claims}) > 1
    lines = []
    for claim in claims:
        against = JOIN.join(map(layout.row_name, claim.against.split(JOIN)))
        if claim.chosen_from > 1:
            against += f" (best of {claim.chosen_from} on validation)"
        line = [
            Text(claim.claim),
            Text(against),
            *([Text(layout.column_name(claim.column))] if several else []),
        ]
        gain = value_text(claim.difference.estimate, "+") if claim.difference else NOT_RUN
        line.append(Text(gain, claim.is_clear))
        lines.append([*line, Text(p_text(claim.holm_p))])
    header = ["Claim", "Against", *_column_head(several, layout), *COMPARED]
    title = _title(block, "Confirmatory", layout)
    return TextGrid(title, header, lines, compares=True)


def _worth(block: str, worth: Sequence[Equivalent], layout: TableLayout) -> TextGrid:
    here = {(one.row, one.shots): one.text for one in worth if one.block == block}
    shots = sorted({number for _, number in here})
    rows = [
        [Text(layout.row_name(row)), *(Text(here.get((row, number), "-")) for number in shots)]
        for row in dict.fromkeys(row for row, _ in here)
    ]
    title = _title(block, "Equivalent shots of no augmentation, by shots", layout)
    return TextGrid(title, [heading(*layout.rows), *(f"{number:g}" for number in shots)], rows)


def _title(block: str, title: str, layout: TableLayout) -> str:
    """Return the title of a block's grid."""
    if not block:
        return title
    return f"{heading(layout.block or '')}: {block}, {title[:1].lower()}{title[1:]}"


def _column_head(several: bool, layout: TableLayout) -> list[str]:
    """Return the heading of the columns' names, if a grid's rows are of several columns."""
    return [heading(layout.columns or "")] if several else []


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
                can_be = waits or (block, row, column) in empty
                line.append(Text("missing" if can_be else IMPOSSIBLE))
                line += [Text("-")] * layout.validation
                continue
            line.append(Text(value_text(cell.estimate), bold))
            if layout.validation:
                values = list(cell.validation.values())
                line.append(Text(value_text(estimate(values)) if values else "-"))
        also = found.get((block, row, columns[0])) if len(columns) == 1 else None
        line += [Text(_also(also, name)) for name in layout.also if len(columns) == 1]
        rows.append(line)
    also_names = layout.also if len(columns) == 1 else ()
    heads = []
    for column in columns:
        name = layout.column_name(column)
        heads.append(name or heading(layout.value))
        if layout.validation:
            by = layout.select_by
            heads.append(f"{name}, {words(by)}" if name else heading(by))
    if layout.stack:
        runs = [run for place in here for run in found[place].runs.values()]
        keys = [*[""] * len(heads), *also_names]
        rows += [[Text(text) for text in row] for row in stack_rows(runs, keys)]
    title = f"{heading(layout.block or '')}: {block}" if block else layout.title
    if layout.columns and len(columns) > 1:
        title += f", columns: {words(layout.columns)}"
    return TextGrid(title, [heading(*layout.rows), *heads, *map(heading, also_names)], rows)


def _also(cell: TableCell | None, name: str) -> str:
    if cell is None:
        return "-"
    values = [run.metric(name) for run in cell.runs.values()]
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return "-"
    mean = sum(known) / len(known)
    return f"{mean:,.0f}" if abs(mean) >= 100 or mean == int(mean) else f"{mean:.3g}"


COMPARED = ("Difference", "p (Holm)")


def _comparisons(
    block: str, compared: Sequence[Comparison], layout: TableLayout, found: dict[Place, TableCell]
) -> TextGrid:
    claimed = {(*claim.arm, *claim.against) for claim in layout.family or ()}  # shown above
    here = [c for c in compared if c.block == block and (c.row, c.against) not in claimed]
    rows = layout.order(row for b, row, _ in found if b == block)
    columns = layout.column_order({comparison.column for comparison in here} - {MEAN})
    here.sort(key=lambda c: ([*columns, MEAN].index(c.column), rows.index(c.row)))
    several = len({comparison.column for comparison in here}) > 1
    explores = layout.family is not None
    lines = []
    for comparison in here:
        line = [
            Text(layout.row_name(comparison.row)),
            Text(layout.row_name(comparison.against)),
            *([Text(layout.column_name(comparison.column))] if several else []),
        ]
        line.append(Text(value_text(comparison.difference.estimate, "+"), comparison.is_clear))
        lines.append([*line, *([] if explores else [Text(p_text(comparison.holm_p))])])
    compared_heads = COMPARED[:1] if explores else COMPARED
    header = [heading(*layout.rows), "Against", *_column_head(several, layout), *compared_heads]
    title = _title(block, "Differences", layout)
    return TextGrid(title, header, lines, compares=True)
