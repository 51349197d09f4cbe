"""A table on the terminal and as Markdown and CSV; text from data is escaped."""

from pathlib import Path
from typing import TYPE_CHECKING

from sip.core.files import write_atomically
from sip.core.text import escape_markdown, one_line
from sip.tables.cells import Comparison
from sip.tables.document import Document, Text, TextGrid
from sip.tables.latex import latex
from sip.tables.runs_file import run_rows, write_predictions, write_rows
from sip.tables.statistics import Difference

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".md", ".csv", ".tex")
COLUMNS = (
    "block", "row", "name", "column", "metric", "mean", "half_width", "n", "seeds", "claim",
    "against", "difference", "difference_half_width", "pairs", "p", "p_holm",
    "images_low", "images_high", "p_mcnemar", "fingerprints",
)  # fmt: skip


def markdown(document: Document) -> str:
    """Return the table in Markdown; its columns are aligned, so it is read on a terminal too."""
    texts = [f"**{escape_markdown(document.title)}**"]
    for grid in document.grids:
        if grid.title != document.title:
            texts.append(escape_markdown(grid.title))
        texts.append(_frame(grid).to_markdown(index=False, disable_numparse=True))
    texts += map(escape_markdown, [*document.notes, *document.comparison_notes])
    if document.commands:
        lines = [one_line(f"    {command}    # {name}") for name, command in document.commands]
        texts.append("\n".join(["What is missing:", "", *lines]))
    return "\n\n".join(texts) + "\n"


def _frame(grid: TextGrid) -> "pd.DataFrame":
    """Return the texts of a grid as Markdown."""
    import pandas as pd

    def shown(text: Text) -> str:
        escaped = escape_markdown(text.text)
        return f"**{escaped}**" if text.bold else escaped

    rows = [[shown(text) for text in row] for row in grid.rows]
    return pd.DataFrame(rows, columns=list(map(escape_markdown, grid.header)))


def long_form(document: Document, metric: str) -> "pd.DataFrame":
    """Return the numbers of a table: a row for each cell and each of its comparisons, and claim."""
    import pandas as pd

    rows = []
    for place, cell in sorted(document.found.items()):
        mine = [c for c in document.compared if (c.block, c.row, c.column) == place]
        value = cell.estimate
        block, row, column = place
        first: list[object] = [block, row, document.names.get(row, row), column, metric]
        first += [value.mean, value.half_width, value.num, " ".join(map(str, cell.seeds))]
        prints = " ".join(run.fingerprint for _, run in sorted(cell.runs.items()))
        several: list[Comparison | None] = [*mine] or [None]
        rows += [[*first, *_compared(comparison), prints] for comparison in several]
    for result in document.claims:
        place_of = [result.block, result.arm, result.arm, result.column, metric, *[None] * 4]
        numbers: list[object] = [None] * 5  # of a claim that was not computed
        if result.difference is not None:
            numbers = _numbers(result.difference, result.holm_p)
        rows.append([*place_of, result.claim, result.against, *numbers, *[None] * 4])
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _compared(comparison: Comparison | None) -> list[object]:
    """Return the numbers of a comparison, of `COLUMNS` from "claim" to "p_mcnemar"."""
    if comparison is None:
        return [None] * 10
    images = comparison.images
    over_images = [images.low, images.high, images.p_value] if images else [None] * 3
    over_seeds = _numbers(comparison.difference, comparison.holm_p)
    return [None, comparison.against, *over_seeds, *over_images]


def _numbers(difference: Difference, holm_p: float | None) -> list[object]:
    """Return a difference's numbers, of `COLUMNS` from "difference" to "p_holm"."""
    value = difference.estimate
    return [value.mean, value.half_width, value.num, difference.p_value, holm_p]


def write(document: Document, metric: str, path: Path) -> list[Path]:
    """Write `<path>.md`, `.csv` and `.tex`, and the two files of `sip.tables.runs_file`.

    One of these endings may be part of the path.

    Returns:
        The files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in SUFFIXES:
        path = path.with_suffix("")
    files = [path.with_name(f"{path.name}{suffix}") for suffix in SUFFIXES]
    numbers = long_form(document, metric).to_csv(index=False, float_format="%g")
    for file, text in zip(files, (markdown(document), numbers, latex(document)), strict=True):
        write_atomically(file, text)
    if document.runs and document.layout is not None:
        files.append(
            write_rows(
                run_rows(document.runs, document.layout, document.experiments, document.unlike),
                path,
            )
        )
        files += filter(None, [write_predictions(document.runs, path)])
    return files
