"""Your own images in a list: a CSV or TSV file with a path and a label in each row.

    path,label,split
    cats/1.jpg,tabby cat,train

The columns may have other names and any order; further columns are not read. Labels that are whole
numbers are ordered by number. Nothing of a row is guessed: what does not fit is refused, by the
number of its line and its column.
"""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sip.core.component import component, ignored, known_by
from sip.core.csv_table import open_csv
from sip.core.errors import UserError
from sip.core.ranges import Seed
from sip.core.text import counted, join_first, reason_of
from sip.dataset.base import Split
from sip.dataset.files import GENERATED, PARTS, Entry
from sip.dataset.folders import inside, say_once
from sip.dataset.labels import (
    PromptNames,
    is_missing,
    label_of,
    part_of,
    prompt_words,
    sorted_classes,
)
from sip.dataset.reader import Listing, Reader
from sip.dataset.subsets import HeldOut

NUM_SHOWN = 10  # bad rows that a message names


@dataclass(frozen=True)
class Row:
    """A row of the list.

    Attributes:
        line: Its number in the file, from 1.
        path: Normalised path of the image.
        label: Its class.
        is_generated: The column `kind`, if there is one, says so.
        part: Its split; "train" if the file has no such column, "pretrain" for an unknown one.
    """

    line: int
    path: str
    label: str
    part: Split
    is_generated: bool = False


@component
class CsvFile(Reader):
    """Images that a CSV file lists.

    Args:
        path: The file.
        root: Folder that relative paths start from; None for the folder of the file.
        path_column, label_column: Names of the columns.
        split_column: Name of the column with train, val or test; the file need not have it.
        val_fraction, test_fraction: As of `sip.dataset.image_folder.ImageFolder`, for parts that no
            row belongs to.
        split_seed: Chooses them.
        prompt_names: Label -> words that fit a prompt, if they differ.
    """

    path: str = known_by("content")
    root: str | None = ignored()
    path_column: str
    label_column: str
    split_column: str
    val_fraction: HeldOut
    test_fraction: HeldOut
    split_seed: Seed
    prompt_names: PromptNames

    @property
    def file(self) -> Path:
        """The list."""
        return Path(self.path).expanduser()

    @property
    def place(self) -> Path:
        """The folder that relative paths start from."""
        return self.file.parent if self.root is None else Path(self.root).expanduser()

    def listing(self) -> Listing:
        """Return the labels, and the entries in the order of the file.

        Raises:
            UserError: The file cannot be read, a column is missing, or rows do not fit.
        """
        rows = self._rows()
        if not any(row.part == "train" for row in rows):
            raise UserError(
                f"{self.file}: must list images to train on, got none; name the part of each row "
                f"in the column {self.split_column}, or leave the column out"
            )
        names = sorted_classes(row.label for row in rows if row.part == "train")
        numbers = {name: number for number, name in enumerate(names)}
        if unknown := [row for row in rows if row.label not in numbers]:
            text = f"{self.label_column}: no training image has "
            raise self._bad_rows([(row.line, f"{text}{row.label!r}") for row in unknown])
        entries: dict[Split, list[Entry]] = {}
        for name, row in zip(inside(self._start, [row.path for row in rows]), rows, strict=True):
            entry = Entry.of_file(name, numbers[row.label], row.path, row.is_generated)
            entries.setdefault(row.part, []).append(entry)
        self._make_parts(entries, self.test_fraction, self.val_fraction, self.split_seed)
        return prompt_words(names, self.prompt_names), entries

    def column_files(self, column: str, sample_ids: Sequence[str], key: str) -> dict[str, str]:
        """Return sample_id -> the file that another column names, of those that exist.

        Args:
            column: Its name.
            sample_ids: Those that are asked for.
            key: Key that it was configured with, for messages.

        Raises:
            UserError: There is no such column.
        """
        asked, files = set(sample_ids), {}
        for line, cells in self._cells():
            self._require_column(column, cells, key)
            path = self._path(cells[column])
            name = self._name(self._row(line, cells).path)
            if name in asked and os.path.isfile(path):
                files[name] = path
        return files

    def column_values(self, column: str, key: str) -> dict[str, Any]:
        """Return sample_id -> text in another column.

        Args:
            column: Its name.
            key: Key that it was configured with, for messages.

        Raises:
            UserError: There is no such column.
        """
        values = {}
        for line, cells in self._cells():
            self._require_column(column, cells, key)
            values[self._name(self._row(line, cells).path)] = cells[column]
        return values

    def _require_column(self, column: str, cells: Mapping[str, str], key: str) -> None:
        if column not in cells:
            columns = ", ".join(name for name in cells if name)
            raise UserError(f"{key}: must be one of {columns} in {self.file}, got {column!r}")

    @cached_property
    def _start(self) -> str:
        """The folder that relative paths start from, as text: each row asks for it."""
        return os.path.normpath(self.place)

    def _name(self, path: str) -> str:
        return inside(self._start, [path])[0]

    def _rows(self) -> list[Row]:
        """Return the rows of images that exist.

        Raises:
            UserError: As `listing`.
        """
        rows, bad, gone = list[Row](), list[tuple[int, str]](), list[tuple[int, str]]()
        lines: dict[str, int] = {}  # the first line of each file
        for line, cells in self._cells():
            row = self._row(line, cells)
            problems = list(self._problems(row, cells, lines.get(row.path)))
            lines.setdefault(row.path, line)
            bad += [(line, problem) for problem in problems]
            if not problems and os.path.isfile(row.path):  # False if the name is too long, too
                rows.append(row)
            elif not problems:
                name = cells[self.path_column]
                hint = " (write / in place of \\)" if "\\" in name else ""
                what = "is no regular file" if os.path.exists(row.path) else "does not exist"
                gone.append((line, f"{self.path_column}: {name} {what}{hint}"))
        if bad or (gone and self.broken == "refuse"):
            start = f" (relative paths start from {self.place.resolve()})" if gone else ""
            fix = "fix these rows" + (", or set dataset.root to the images' folder" if gone else "")
            raise self._bad_rows(sorted([*bad, *gone]), f"{start}; {fix}")
        if gone:
            names = join_first([f"line {line}, {problem}" for line, problem in gone], NUM_SHOWN)
            say_once(self.file, f"passed over {counted(len(gone), 'row')}: {names}")
        return rows

    def _row(self, line: int, cells: dict[str, str]) -> Row:
        """Return the content of a row; what is missing is empty."""
        part: Split | None = "train"
        if self.split_column in cells:
            part = part_of(cells[self.split_column] or "")
        label = label_of(cells[self.label_column] or "")
        is_generated = self.label_column != "kind" and cells.get("kind") == GENERATED
        path = self._path(cells[self.path_column])
        return Row(line, path, label, part or "pretrain", is_generated)

    def _path(self, cell: str | None) -> str:
        """Return the normalised path that a cell names."""
        path = os.path.expanduser((cell or "").strip())  # "~1.jpg" is a name
        return os.path.normpath(os.path.join(self._start, path))

    def _problems(self, row: Row, cells: dict[str, str], first: int | None) -> Iterator[str]:
        """Yield what does not fit in a row; `first` is the line that has its file already."""
        if None in cells:
            yield "more cells than the header has columns (quote a text with commas)"
        elif None in cells.values():
            yield "fewer cells than the header has columns"
        if not (cells[self.path_column] or "").strip():
            yield f"{self.path_column}: is empty"
        elif first is not None:
            yield f"{self.path_column}: the same file as in line {first}"
        if is_missing(row.label):
            what = f"{row.label}, which stands for no label" if row.label else "empty"
            yield f"{self.label_column}: is {what}"
        elif len(row.label.splitlines()) > 1:
            yield f"{self.label_column}: has several lines (close the quotes)"
        if row.part not in PARTS:
            given = cells[self.split_column]
            yield f"{self.split_column}: must be train, val or test, got {given!r}"

    def _cells(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield (number of the line, column -> cell) of each row that is not empty.

        Raises:
            UserError: The file is not there, not such a table, or lacks a column.
        """
        try:
            table = open_csv(self.file, {self.path_column, self.label_column})
            columns = list(table.fieldnames or ())
            if twice := [name for name in columns if name and columns.count(name) > 1]:
                raise UserError(
                    f"{self.file}: columns must differ in names, got {twice[0]!r} twice; rename one"
                )
            for name in (self.path_column, self.label_column):
                if name not in columns:
                    key = "path_column" if name == self.path_column else "label_column"
                    raise UserError(
                        f"dataset.{key}: must be one of {', '.join(columns) or 'no columns'} in "
                        f"{self.file}, got {name!r}; name the column, or add a header line"
                    )
            for cells in table:
                if any(cells.values()):
                    yield table.line_num, cells
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UserError(
                f"dataset.path: must be a CSV file in UTF-8, got {self.file} ({reason_of(error)}); "
                "set it to the file, saved so"
            ) from error

    def _bad_rows(self, bad: list[tuple[int, str]], end: str = "; fix these rows") -> UserError:
        shown = join_first([f"line {line}, {problem}" for line, problem in bad], NUM_SHOWN)
        return UserError(
            f"{self.file}: each row must have a path, a label and a part that fit, got "
            f"{counted(len(bad), 'cell')} that {'do' if len(bad) > 1 else 'does'} not: {shown}{end}"
        )
