"""Choose what a table leaves open, rows and columns, from what differs between the runs."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from sip.records.read import TrainingRun, swept_keys
from sip.records.summary import BASE
from sip.records.varied import named, plain, varied_keys
from sip.tables.bases import has_unlike_bases
from sip.tables.layout import AUTO, TableLayout

FILLED = 0.75  # share of a grid's cells that must have runs for a key to become the columns
MAX_COLUMNS = 8
SINGLE = "augmentation"  # the rows of runs that do not differ


def resolved(
    layout: TableLayout, runs: Sequence[TrainingRun], experiments: Sequence[str] = ()
) -> TableLayout:
    """Return a layout in which runs of one cell differ in their seed only.

    Keys that are not shown and in which runs differ become the columns, if the layout leaves
    these open and there are runs for nearly every cell; otherwise they are added to the rows.

    Args:
        layout: Its rows and columns may be "auto".
        runs: Runs of the table.
        experiments: Their names; the keys that their sweeps varied are preferred.
    """
    is_open = layout.columns == AUTO
    rows = () if layout.rows == (AUTO,) else layout.rows
    columns = None if is_open else layout.columns
    shown = [key for key in (layout.block, *rows, columns) if key is not None]
    known = [*shown, *layout.select]  # one value of these is selected for each cell
    added = varied_keys(runs, swept_keys(runs, experiments), known)
    if is_open:
        columns = _columns(runs, rows, added)
    added = [key for key in added if key != columns]
    if BASE in added and SINGLE not in (*shown, *added, columns):
        added.insert(0, SINGLE)  # a base transform says nothing without its arm
    found = (*rows, *added)
    layout = replace(layout, rows=found or (SINGLE,), columns=columns)
    hides = BASE not in layout.keys and has_unlike_bases(
        runs, lambda run: (layout.block_of(run), layout.column_of(run))
    )
    rows_in_words = _words(runs, layout.row_of, layout.rows, with_base=hides)
    columns_in_words = _words(runs, layout.column_of, (columns,)) if columns else {}
    return replace(layout, row_words=rows_in_words, column_words=columns_in_words)


def rows_note(stated: Sequence[str], rows: Sequence[str]) -> list[str]:
    """Return a note on the keys that were added to the rows that a layout states."""
    added = [key for key in rows if key not in stated]
    if stated == (AUTO,) or not added:
        return []
    return [f"Rows also name {', '.join(added)}: runs of one row differ in it."]


def _words(
    runs: Sequence[TrainingRun],
    place: Callable[[TrainingRun], str],
    keys: Sequence[str],
    with_base: bool = False,
) -> dict[str, str]:
    """Return row or column -> its name in words, if asked for with its base transform.

    Numbers of choices are left out if they differ within it, and what would have the name of
    another one keeps its values.
    """
    found: dict[str, set[str]] = defaultdict(set)
    bases: dict[str, set[str]] = defaultdict(set)
    short: dict[str, str] = {}
    for run in runs:
        values = place(run)
        found[values].add(named(run, keys))
        bases[values].add(run.summary.base)
        short[values] = named(run, keys, numbers=False)
    names = {v: next(iter(n)) if len(n) == 1 else short[v] for v, n in found.items()}
    if with_base:
        names = {
            values: f"{name}, base {next(iter(bases[values]))}" if len(bases[values]) == 1 else name
            for values, name in names.items()
        }
    times = Counter(names.values())
    return {values: name for values, name in names.items() if name and times[name] == 1}


def _columns(runs: Sequence[TrainingRun], rows: Sequence[str], added: Sequence[str]) -> str | None:
    """Return the last key that every row has several values of; None if there is none."""
    if not rows and len(added) < 2:
        return None
    for key in sorted(reversed(added), key=lambda key: key != "dataset"):
        others = [*rows, *(other for other in added if other != key)]
        if key != SINGLE and _is_grid(runs, others, key):
            return key
    return None


def _is_grid(runs: Sequence[TrainingRun], rows: Sequence[str], column: str) -> bool:
    """Return whether there are runs for nearly every combination of row and column."""
    values = [run.value(column) for run in runs]
    if any(value is None for value in values) or len({*values}) > MAX_COLUMNS:
        return False
    names = [tuple(plain(run.value(key)) for key in rows) for run in runs]
    return len({*zip(names, values, strict=True)}) >= FILLED * len({*names}) * len({*values})
