"""CSV: files of people, with commas, semicolons or tabs between the columns, and texts of ours."""

import csv
import io
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

DELIMITERS = "\t;,"


def open_csv(file: Path, known: Collection[str]) -> "csv.DictReader[str]":
    """Return a reader of the rows; the names of its columns have no spaces around them.

    Args:
        file: The file.
        known: Names of columns: the delimiter is the one by which most of them are in the header.

    Raises:
        OSError: It cannot be read, or is no regular file: to read a pipe may never end.
        UnicodeDecodeError: It is not in UTF-8.
        csv.Error: The header has an open quote.
    """
    if file.exists() and not file.is_file():
        raise OSError("it is not a regular file")
    text = file.read_text(encoding="utf-8-sig")
    head = text.partition("\n")[0]

    def fit(delimiter: str) -> tuple[int, int]:
        names = head.split(delimiter)
        return len({name.strip(' \t\r"') for name in names}.intersection(known)), len(names)

    lines = io.StringIO(text, newline="")
    table = csv.DictReader(lines, delimiter=max(DELIMITERS, key=fit), strict=True)
    table.fieldnames = [name.strip() for name in table.fieldnames or ()]
    return table


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows as CSV, with line feeds."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()
