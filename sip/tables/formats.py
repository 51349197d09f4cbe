"""A table on the terminal and as Markdown, CSV and LaTeX; what comes from data is escaped."""

import csv
from pathlib import Path

from sip.core.text import escape_latex, escape_markdown, one_line
from sip.tables.cells import Comparison
from sip.tables.document import Document, Text, TextGrid
from sip.tables.query import plain

CSV_HEADER = (
    "block", "row", "column", "metric", "mean", "half_width", "n", "seeds", "against",
    "difference", "difference_half_width", "pairs", "p", "p_holm", "images_low", "images_high",
    "p_mcnemar", "seeds_needed", "fingerprints",
)  # fmt: skip


def markdown(document: Document) -> str:
    """Return the table in Markdown; its columns are aligned, so it is read on a terminal too."""
    texts = [f"**{escape_markdown(document.title)}**"]
    for grid in document.grids:
        if grid.title != document.title:
            texts.append(escape_markdown(grid.title))
        texts.append(_markdown_grid(grid))
    texts += [escape_markdown(note) for note in document.notes]
    if document.commands:
        lines = [one_line(f"{command}    # {name}") for name, command in document.commands]
        lines = [f"    {line}" for line in lines]
        texts.append("\n".join(["What is missing:", "", *lines]))
    prints = escape_markdown(", ".join(map(str, document.fingerprints)))
    texts.append(f"<details><summary>Fingerprints of the runs</summary>{prints}</details>")
    return "\n\n".join(texts) + "\n"


def _markdown_grid(grid: TextGrid) -> str:
    head = [escape_markdown(text) for text in grid.header]
    rows = [[_markdown_text(text) for text in row] for row in grid.rows]
    widths = [max(len(row[n]) for row in [head, *rows]) for n in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    cut = [[text.ljust(width) for text, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cut)


def _markdown_text(text: Text) -> str:
    escaped = escape_markdown(text.text)
    return f"**{escaped}**" if text.bold else escaped


def latex(document: Document) -> str:
    """Return the table in LaTeX, for a document that uses the package booktabs."""
    lines = ["% needs \\usepackage{booktabs}"]
    for grid in document.grids:
        lines += ["\\begin{table}", "\\centering", f"\\caption{{{escape_latex(grid.title)}}}"]
        lines.append(f"\\begin{{tabular}}{{l{'r' * (len(grid.header) - 1)}}}")
        head = " & ".join(escape_latex(text) for text in grid.header)
        lines += ["\\toprule", f"{head} \\\\", "\\midrule"]
        lines += [f"{' & '.join(map(_latex_text, row))} \\\\" for row in grid.rows]
        lines += ["\\bottomrule", "\\end{tabular}", "\\end{table}", ""]
    lines += [f"{escape_latex(note)}\n" for note in document.notes]
    prints = escape_latex(", ".join(map(str, document.fingerprints)))
    return "\n".join([*lines, f"% fingerprints: {prints}", ""])


def _latex_text(text: Text) -> str:
    escaped = escape_latex(text.text)
    return f"\\textbf{{{escaped}}}" if text.bold else escaped


def rows(document: Document, metric: str) -> list[list[str]]:
    """Return the table in long form: a line for each cell and each of its comparisons."""
    lines = []
    for place, cell in sorted(document.found.items()):
        mine = [c for c in document.compared if (c.block, c.row, c.column) == place]
        value = cell.estimate
        first: list[object] = [*place, metric, value.mean, value.half_width, value.num]
        first.append(" ".join(map(str, cell.seeds)))
        prints = " ".join(run.summary.fingerprint for _, run in sorted(cell.runs.items()))
        several: list[Comparison | None] = [*mine] or [None]
        for one in several:
            rest: list[object] = [None] * 10
            if one is not None:
                over, images = one.difference, one.images
                rest = [one.against, over.estimate.mean, over.estimate.half_width]
                rest += [over.estimate.num, over.p_value, one.holm_p]
                rest += [images.low, images.high, images.p_value] if images else [None] * 3
                rest.append(one.seeds_needed)
            fields = [*first, *rest, prints]
            lines.append(["" if f is None else plain(f) for f in fields])
    return lines


def write(document: Document, metric: str, path: Path) -> list[Path]:
    """Write `<path>.md`, `<path>.csv` and `<path>.tex`; return them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_name(f"{path.name}.{suffix}") for suffix in ("md", "csv", "tex")]
    files[0].write_text(markdown(document))
    with files[1].open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([list(CSV_HEADER), *rows(document, metric)])
    files[2].write_text(latex(document))
    return files
