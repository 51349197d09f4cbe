"""Prompt lists as files for people: a CSV or Parquet file with a row for each image to generate.

    sample_id,prompt,guidance_scale,noise_rate
    train/cat/1.jpg,a photo of a cat on a red sofa,5.0,0.7

A row names its original by `sample_id` or by `file`. All other columns may be missing or have empty
cells, and further columns are not read. `spans` is the prompt as JSON with weights, such as
`[["a photo of a ", 1], ["cat", 1.5]]`. Seeds are written as `2_038_906_263_541_255_158`:
pandas and spreadsheets take this for text, and do not round it to 15 digits. `target` is the class
that the image is to show, if it is another than its original's, and `label_share` the share of this
class in its label.
"""

import csv
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from sip.core.csv_table import open_csv
from sip.core.errors import UserError
from sip.core.files import atomic_file
from sip.core.text import counted, join_first, reason_of
from sip.prompts.base import Prompt, Span, span_pairs

NUM_SHOWN = 10  # bad cells that a message names
NUMBER_OF_SEEDS = 2**63
EXACT = 2**53  # whole numbers below are exact as floats
COMMA = re.compile(r"-?[0-9]+,[0-9]+")  # a number as many spreadsheets write it
FORMATS = (".csv", ".parquet")
Lines = tuple[list[str], list[tuple[int, Mapping[str, Any]]]]  # columns; number and cells of rows


@dataclass(frozen=True, slots=True)
class PromptRow:
    """A row of a prompt list; None stands for a missing value.

    Attributes:
        line: Its number in the file: of the line in a CSV file, from 1 in a Parquet file.
        sample_id, file: Name the original; one of them is given.
        spans: The prompt.
        negative_prompt, guidance_scale, noise_rate, seed, caption, similarity: As of `Prompt`.
        target: Name of the class that the image is to show.
        label_share: As of `SourceClass`.
    """

    line: int
    sample_id: str | None = None
    file: str | None = None
    spans: tuple[Span, ...] | None = None
    negative_prompt: str | None = None
    guidance_scale: float | None = None
    noise_rate: float | None = None
    seed: int | None = None
    caption: str | None = None
    similarity: float | None = None
    target: str | None = None
    label_share: float | None = None

    def values(self) -> list[Any]:
        """Return what decides the image, as JSON keeps it."""
        spans = None if self.spans is None else span_pairs(self.spans)
        numbers = [self.guidance_scale, self.noise_rate, self.seed, self.caption, self.similarity]
        mixed = [] if self.target is None else [self.target, self.label_share]
        return [self.sample_id, self.file, spans, self.negative_prompt, *numbers, *mixed]


def read_rows(file: Path) -> tuple[list[PromptRow], list[str]]:
    """Return the rows of a prompt list, and the names of columns that are not read.

    Raises:
        UserError: It cannot be read, or cells do not fit; names the rows and columns.
    """
    check_format(file, "prompts.file")
    if not file.exists():
        raise _refused("a file that is there", f"{file}; prompts_out={file} writes one")
    try:
        columns, lines = (_csv if file.suffix == ".csv" else _parquet)(file)
    except (OSError, ValueError, csv.Error) as error:
        kind = "a CSV file in UTF-8" if file.suffix == ".csv" else "a Parquet file"
        raise _refused(kind, f"{file} ({reason_of(error)})") from error
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise _refused("a table whose columns differ in names", f"{file} with {twice[0]!r} twice")
    if not {"sample_id", "file"} & set(columns):
        found = ", ".join(columns) or "no columns"
        raise _refused("a table with a column sample_id or file", f"{file} with {found}")
    rows: list[PromptRow] = []
    bad: list[str] = []
    for line, cells in lines:
        values: dict[str, Any] = {}
        for column, cell in cells.items():
            if column in READERS and not _is_empty(cell):
                try:
                    values[column] = READERS[column](cell)
                except ValueError as error:
                    bad.append(f"row {line}, column {column}: must be {error}, got {cell!r}")
        prompt = values.pop("prompt", None)
        row = PromptRow(line, **values)
        bad += [f"row {line}, column {problem}" for problem in _problems(row, prompt)]
        if row.spans is None and prompt is not None:
            row = PromptRow(line, **values, spans=(Span(prompt, 1.0),))
        rows.append(row)
    if bad:
        do_not_fit = f"{counted(len(bad), 'cell')} {'does' if len(bad) == 1 else 'do'} not fit"
        raise UserError(
            f"prompts.file: {file}: {do_not_fit}: {join_first(bad, NUM_SHOWN)}; fix these rows"
        )
    if not rows:
        raise _refused("a table with a row for each image to generate", f"{file} with none")
    return rows, [name for name in columns if name not in READERS]


def check_format(file: Path, key: str) -> None:
    """Check that the name of a file ends as one of a prompt list does.

    Raises:
        UserError: It does not; names the key.
    """
    if file.suffix not in FORMATS:
        raise _refused(f"the name of a {' or '.join(FORMATS)} file", file, key)


def write_rows(prompts: Iterable[Prompt], file: Path) -> int:
    """Write prompts so that `read_rows` returns what they were made of; return their number.

    Raises:
        UserError: The name ends neither in .csv nor in .parquet, it cannot be written, or has
            another content, which stays as it is.
    """
    check_format(file, "prompts_out")
    rows = [_cells(prompt) for prompt in prompts]
    columns = [name for name in READERS if name not in ("file", *OF_TARGETS)]
    if any(row["target"] is not None for row in rows):
        columns += OF_TARGETS
    rows = [{name: row[name] for name in columns} for row in rows]
    try:
        with atomic_file(file) as part:
            if file.suffix == ".parquet":
                import pyarrow as pa
                import pyarrow.parquet as pq

                schema = pa.schema(
                    (name, pa.float64() if name in NUMBERS else pa.string()) for name in columns
                )
                pq.write_table(pa.Table.from_pylist(rows, schema), part)
            else:
                with part.open("w", encoding="utf-8", newline="") as stream:
                    table = csv.DictWriter(stream, columns)
                    table.writeheader()
                    table.writerows(rows)
            if file.exists() and file.read_bytes() != part.read_bytes():  # it may be edited by hand
                raise _refused("a new file", f"{file} with another content", "prompts_out")
    except OSError as error:
        rule = "a file that can be written"
        raise _refused(rule, f"{file} ({reason_of(error)})", "prompts_out") from error
    return len(rows)


def _cells(prompt: Prompt) -> dict[str, Any]:
    source = prompt.source_class
    return {
        "sample_id": prompt.sample_id,
        "prompt": prompt.text,
        "spans": json.dumps(span_pairs(prompt.spans), ensure_ascii=False),
        "negative_prompt": prompt.negative_prompt,
        "guidance_scale": prompt.guidance_scale,
        "noise_rate": prompt.noise_rate,
        "seed": f"{prompt.seed:_}",
        "caption": prompt.caption,
        "similarity": prompt.similarity,
        "target": None if source is None else prompt.class_name,
        "label_share": None if source is None else source.label_share,
    }


def _problems(row: PromptRow, prompt: str | None) -> Iterator[str]:
    """Yield what of a row does not fit together."""
    if row.sample_id is None and row.file is None:
        yield "sample_id: must name the original, got nothing"
    if row.sample_id is not None and row.file is not None:
        yield "file: must be empty where sample_id is given"
    if row.label_share is not None and row.target is None:
        yield "label_share: must be empty where target is"
    if row.spans is not None and prompt is not None:
        text = "".join(span.text for span in row.spans)
        if text != prompt:
            yield (
                f"prompt: must be the text of spans, {text!r}, got {prompt!r} (edit spans too, or "
                "empty the cell of spans: all words then weigh 1)"
            )


def _csv(file: Path) -> Lines:
    table = open_csv(file, READERS)
    lines: list[tuple[int, Mapping[str, Any]]] = []
    for cells in table:
        if None in cells or None in cells.values():
            number = "more" if None in cells else "fewer"
            raise ValueError(f"row {table.line_num} has {number} cells than the header")
        lines.append((table.line_num, cells))
    return list(table.fieldnames or ()), lines


def _parquet(file: Path) -> Lines:
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as opened:
        columns = opened.schema_arrow.names
        read = sorted({name for name in columns if name in READERS})
        rows = opened.read(read, use_threads=False).to_pylist() if read else []
    return columns, list(enumerate(rows, 1))


def _is_empty(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _text(cell: Any) -> str:
    if not isinstance(cell, str):
        raise ValueError("text")
    return cell


def _number(rule: str, fits: Callable[[float], bool]) -> Callable[[Any], float]:
    def read(cell: Any) -> float:
        try:
            value = math.nan if isinstance(cell, bool) else float(cell)
        except (TypeError, ValueError):
            value = math.nan
        if not (math.isfinite(value) and fits(value)):
            has_comma = isinstance(cell, str) and COMMA.fullmatch(cell.strip())
            raise ValueError("a number with a decimal point" if has_comma else rule)
        return value

    return read


def _seed(cell: Any) -> int:
    """Read a seed, also 7.0: pandas writes it for 7 if a cell of the column is empty."""
    text = str(cell).strip()
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("nan")
    if not (number.is_finite() and 0 <= number < NUMBER_OF_SEEDS and number % 1 == 0):
        raise ValueError("a whole number in [0, 2**63)")
    if number >= EXACT and not text.replace("_", "").isdecimal():
        raise ValueError("a whole number with all digits (a program rounded it; 2_038 is text)")
    return int(number)


def _spans(cell: Any) -> tuple[Span, ...]:
    rule = 'JSON of the form [["a photo of a ", 1], ["cat", 1.5]]'
    try:
        pairs = json.loads(cell) if isinstance(cell, str) else None
    except ValueError:
        pairs = None
    if not isinstance(pairs, list) or not all(map(_is_span, pairs)):
        raise ValueError(rule)
    return tuple(Span(text, float(weight)) for text, weight in pairs)


def _is_span(pair: Any) -> bool:
    if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) and pair[0]):
        return False
    weight = pair[1]
    is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
    return is_number and math.isfinite(weight)


def _refused(rule: str, got: object, key: str = "prompts.file") -> UserError:
    return UserError(f"{key}: must be {rule}, got {got}")


# Column -> what reads a cell of it.
READERS: dict[str, Callable[[Any], Any]] = {
    "sample_id": _text,
    "file": _text,
    "prompt": _text,
    "spans": _spans,
    "negative_prompt": _text,
    "guidance_scale": _number("0 or more", lambda value: value >= 0),
    "noise_rate": _number("in (0, 1]", lambda value: 0 < value <= 1),
    "seed": _seed,
    "caption": _text,
    "similarity": _number("a finite number", lambda value: True),
    "target": _text,
    "label_share": _number("in [0, 1]", lambda value: 0 <= value <= 1),
}
NUMBERS: Sequence[str] = ("guidance_scale", "noise_rate", "similarity", "label_share")
OF_TARGETS: Sequence[str] = ("target", "label_share")  # written if an image has a target
