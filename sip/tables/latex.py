"""A table in LaTeX: floats with label, caption and notes, as wide as a column or the page."""

import re
from collections.abc import Iterable, Sequence

from sip.core.text import escape_latex
from sip.records.varied import key_words
from sip.tables.document import Document, Text, TextGrid
from sip.tables.points import metric_words

# Characters that fit in \small, Times: a column of 3.3 in, a page of 6.9 in.
COLUMN, PAGE = 52, 106
GAP = 2  # characters between two columns
HEADS = {
    "num_train": "training images",
    "unet_evaluations": "U-Net evaluations",
    "seconds/train": "training, s",
    "seconds/generate": "generation, s",
    "seconds/total": "total, s",
}
METRIC = re.compile(r"(test|val|train|generated)/\w+")
KEY = re.compile(r"[A-Za-z_][\w./@]*")
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
    title = grid.title[:1].upper() + grid.title[1:]
    if grid.title != document.title:
        title = f"{document.title}. {title}"
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
    head = _row(_in_text(_head(name)) for name in grid.header)
    lines = ["\\toprule", head, "\\midrule", *rows, "\\bottomrule"]
    return "\n".join([f"\\begin{{tabular}}{{{align}}}", *lines, "\\end{tabular}"])


def _row(fields: Iterable[str]) -> str:
    return " & ".join(fields) + r" \\"


def _cell(text: Text) -> str:
    escaped = MINUS.sub("$-$", escape_latex(text.text))
    return f"\\textbf{{{escaped}}}" if text.bold else escaped


def _in_text(text: str) -> str:
    return MINUS.sub("$-$", escape_latex(text))


def _head(keys: str) -> str:
    """Return the head of a column in words: "noise rate" for "prompts.noise_rate"."""
    if keys in HEADS:
        return HEADS[keys]
    if METRIC.fullmatch(keys):
        return metric_words(keys)
    return ", ".join(key_words(key) if KEY.fullmatch(key) else key for key in keys.split(", "))


def _width(grid: TextGrid) -> int:
    """Return the width of a table in characters."""
    rows = [[_head(name) for name in grid.header], *([text.text for text in r] for r in grid.rows)]
    return sum(max(map(len, column)) + GAP for column in zip(*rows, strict=True))


def _label(document: Document, grid: TextGrid) -> str:
    """Return the label of a float, such as "tab:arms-resnet-mini-differences"."""
    title = re.sub(r"^\w+: ", "", grid.title) if grid.title != document.title else ""
    words = re.findall(r"[a-z0-9]+", f"{document.title} {title}".lower())
    return f"tab:{'-'.join(words)}"
