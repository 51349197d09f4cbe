"""A table on the terminal and as Markdown and CSV; text from data is escaped."""

from pathlib import Path
from typing import TYPE_CHECKING

from sip.core.text import escape_markdown, one_line
from sip.tables.cells import Comparison
from sip.tables.document import Document, Text, TextGrid
from sip.tables.latex import latex

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "block", "row", "name", "column", "metric", "mean", "half_width", "n", "seeds", "against",
    "difference", "difference_half_width", "pairs", "p", "p_holm", "images_low", "images_high",
    "p_mcnemar", "seeds_needed", "fingerprints",
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
    prints = escape_markdown(", ".join(document.fingerprints))
    texts.append(f"<details><summary>Fingerprints of the runs</summary>{prints}</details>")
    return "\n\n".join(texts) + "\n"


def _frame(grid: TextGrid) -> "pd.DataFrame":
    """Return the texts of a grid as Markdown."""
    import pandas as pd

    def shown(text: Text) -> str:
        escaped = escape_markdown(text.text)
        return f"**{escaped}**" if text.bold else escaped

    rows = [[shown(text) for text in row] for row in grid.rows]
    return pd.DataFrame(rows, columns=[escape_markdown(text) for text in grid.header])


def long_form(document: Document, metric: str) -> "pd.DataFrame":
    """Return the numbers of a table: a row for each cell and each of its comparisons."""
    import pandas as pd

    rows = []
    for place, cell in sorted(document.found.items()):
        mine = [c for c in document.compared if (c.block, c.row, c.column) == place]
        value = cell.estimate
        block, row, column = place
        first: list[object] = [block, row, document.names.get(row, row), column, metric]
        first += [value.mean, value.half_width, value.num, " ".join(map(str, cell.seeds))]
        prints = " ".join(run.summary.fingerprint for _, run in sorted(cell.runs.items()))
        several: list[Comparison | None] = [*mine] or [None]
        rows += [[*first, *_compared(comparison), prints] for comparison in several]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _compared(comparison: Comparison | None) -> list[object]:
    """Return the numbers of a comparison, of `COLUMNS` from "against" to "seeds_needed"."""
    if comparison is None:
        return [None] * 10
    mean, images = comparison.difference.estimate, comparison.images
    over_images = [images.low, images.high, images.p_value] if images else [None] * 3
    over_seeds = [
        mean.mean,
        mean.half_width,
        mean.num,
        comparison.difference.p_value,
        comparison.holm_p,
    ]
    return [comparison.against, *over_seeds, *over_images, comparison.seeds_needed]


def write(document: Document, metric: str, path: Path) -> list[Path]:
    """Write `<path>.md`, `<path>.csv` and `<path>.tex`; return them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_name(f"{path.name}.{suffix}") for suffix in ("md", "csv", "tex")]
    files[0].write_text(markdown(document))
    long_form(document, metric).to_csv(files[1], index=False, float_format="%g")
    files[2].write_text(latex(document))
    return files
