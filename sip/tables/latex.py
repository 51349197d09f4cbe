"""A table in LaTeX: floats with label, caption and notes, as wide as a column or the page."""

import re
from collections.abc import Iterable, Sequence

from sip.core.text import escape_latex
from sip.tables.document import Document, Text, TextGrid

# Characters that fit in \small, Times: a column of 3.3 in, a page of 6.9 in.
COLUMN, PAGE = 52, 106
GAP = 2  # characters between two columns
MINUS = re.compile(r"(?<![\w.])-(?=\d)")


def latex(document: Document) -> str:
    """Return floats for a document that uses the packages booktabs and graphicx.

    A float is as wide as a column if it fits, otherwise as wide as the page (`table*`); one that
    is wider still is scaled down. Notes are in the first float of a kind; others refer to it.
    """
    texts = ["% needs \\usepackage{booktabs,graphicx}"]
    first: dict[bool, str] = {}
    for grid in document.grids:
        label = _label(document, grid)
        if grid.compares in first:
            notes = [f"Notes: see Table~\\ref{{{first[grid.compares]}}}."]
        else:
            differences = [*document.family_notes, *document.comparison_notes]
            notes = list(map(_in_text, differences if grid.compares else document.notes))
        first.setdefault(grid.compares, label)
        texts.append(_float(document, grid, label, notes))
    prints = escape_latex(", ".join(document.fingerprints))
    return "\n\n".join([*texts, f"% fingerprints: {prints}", ""])


def _float(document: Document, grid: TextGrid, label: str, notes: Sequence[str]) -> str:
    width = _width(grid)
    kind = "table" if width <= COLUMN else "table*"
    title = grid.title if grid.title == document.title else f"{document.title}. {grid.title}"
    tabular = _tabular(grid)
    if width > PAGE:
        tabular = f"\\resizebox{{\\linewidth}}{{!}}{{%\n{tabular}}}"
    lines = [
        f"\\begin{{{kind}}}[t]",
        "\\centering",
        f"\\caption{{{_in_text(title)}.}}",
        f"\\label{{{label}}}",
        "\\small",
        "\\setlength{\\tabcolsep}{4pt}",
        tabular,
        "\\par\\smallskip",
        "\\begin{minipage}{\\linewidth}\\footnotesize",
        *notes,
        "\\end{minipage}",
        f"\\end{{{kind}}}",
    ]
    return "\n".join(lines)


def _tabular(grid: TextGrid) -> str:
    texts = 2 if grid.compares else 1  # columns of names; numbers are to the right
    align = "l" * texts + "r" * (len(grid.header) - texts)
    rows = [_row(map(_cell, row)) for row in grid.rows]
    head = _row(map(_in_text, grid.header))
    lines = ["\\toprule", head, "\\midrule", *rows, "\\bottomrule"]
    return "\n".join([f"\\begin{{tabular}}{{{align}}}", *lines, "\\end{tabular}"])


def _row(fields: Iterable[str]) -> str:
    return " & ".join(fields) + r" \\"


def _cell(text: Text) -> str:
    escaped = MINUS.sub("$-$", escape_latex(text.text))
    return f"\\textbf{{{escaped}}}" if text.bold else escaped


def _in_text(text: str) -> str:
    return MINUS.sub("$-$", escape_latex(text))


def _width(grid: TextGrid) -> int:
    """Return the width of a table in characters."""
    rows = [grid.header, *([text.text for text in r] for r in grid.rows)]
    return sum(max(map(len, column)) + GAP for column in zip(*rows, strict=True))


def _label(document: Document, grid: TextGrid) -> str:
    """Return the label of a float, such as "tab:arms-resnet-mini-differences"."""
    title = re.sub(r"^[^:]+: ", "", grid.title) if grid.title != document.title else ""
    words = re.findall(r"[a-z0-9]+", f"{document.title} {title}".lower())
    return f"tab:{'-'.join(words)}"
