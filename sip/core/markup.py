"""Texts of other people, such as class names and captions, inside Markdown, LaTeX and CSV."""

import re

LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "×": r"$\times$",
}
MARKDOWN = {"\\": "\\\\", "|": "\\|", "*": "\\*", "`": "\\`", "[": "\\[", "]": "\\]"}
TAG = re.compile(r"<(?=\S)")  # where HTML could begin
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")  # terminals obey some; LaTeX reads none
FORMULA = ("=", "+", "-", "@")  # how a spreadsheet knows one
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|nan)|-", re.IGNORECASE)


def markdown(text: str) -> str:
    """Return a text as it is in Markdown: one line, no marks, links or HTML; for terminals too."""
    return TAG.sub("&lt;", _escape(text, MARKDOWN))


def latex(text: str) -> str:
    """Return a text as it is in LaTeX: one line, no commands."""
    return _escape(text, LATEX)


def line(text: str) -> str:
    """Return a text in one line, with its blanks, and without what a terminal would obey."""
    return CONTROL.sub("", text.replace("\n", " ").replace("\r", " "))


def cell(text: str) -> str:
    """Return a text of a CSV file; of one that a spreadsheet would run, an apostrophe first.

    As OWASP advises. The apostrophe is part of the text for other readers; the same text, as it is,
    stands in the Parquet files.
    """
    is_formula = text.lstrip().startswith(FORMULA) and not NUMBER.fullmatch(text)
    return f"'{text}" if is_formula else text


def _escape(text: str, table: dict[str, str]) -> str:
    one_line = " ".join(CONTROL.sub("", text).split())
    return "".join(table.get(character, character) for character in one_line)
