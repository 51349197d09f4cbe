"""Read a run's Parquet files; a few bytes of one can stand for any number of values."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sip.core.errors import UserError
from sip.records.files import MAX_TABLE, REMEDY, one_line, require_run_file

MAX_VALUES = 2**28  # numbers and texts in a table
MAX_STREAMED = 2**34  # of those that are not all in memory: 600 million images
MAX_TEXT = 2**30  # bytes of a table's texts
ROWS_AT_ONCE = 4096
# Columns of images.parquet, predictions.parquet and quality.parquet, by what they hold.
TEXT = (
    *("kind", "id", "sample_id", "split", "class_name", "sha256", "file", "status", "reason"),
    *("error", "spans", "negative_prompt", "caption", "candidates", "source_class_name"),
)
WHOLE = ("label", "variant", "seed", "unet_evaluations", "source_label")
REAL = ("guidance_scale", "noise_rate", "similarity", "label_share")
REQUIRED = ("kind", "id", "sample_id", "split", "label")  # there is a value in every row


def iterate_rows(file: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a run's Parquet file; few of them are in memory at a time.

    Args:
        file: The file, of any number of rows.
        columns: Columns to read; None for all.

    Raises:
        UserError: As `read_table`.
    """
    import pyarrow as pa

    try:
        with _parquet(file, MAX_STREAMED) as table:
            _require_columns(columns or (), table.schema_arrow.names, file)
            for batch in table.iter_batches(ROWS_AT_ONCE, columns=columns, use_threads=False):
                rows = _plain(pa.Table.from_batches([batch]), file)
                _require_kinds(rows, file)
                yield from rows.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise _no_table(file, error) from error


def read_table(file: Path, **options: Any) -> Any:
    """Return one of a run's Parquet files as a table of pyarrow.

    Args:
        file: The file.
        options: Arguments of `pyarrow.parquet.read_table`, such as `columns`.

    Raises:
        UserError: It is missing, no Parquet file, or lacks a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with _parquet(file, MAX_VALUES) as opened:
            texts = _texts(opened.schema_arrow)
        table = pq.read_table(file, use_threads=False, read_dictionary=texts, **options)
    except (OSError, pa.ArrowException) as error:
        raise _no_table(file, error) from error
    _require_columns(options.get("columns") or (), table.column_names, file)
    table = _plain(table, file)
    _require_kinds(table, file)
    return table


def matrix_of(column: Any, name: str, file: Path) -> np.ndarray:
    """Return a column of lists, one length for all rows (N), as an array (N, length).

    Args:
        column: A column of a table that `read_table` returned.
        name: Its name.
        file: The file, for the message.

    Raises:
        UserError: It holds something else.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    are_lists = pa.types.is_list(column.type) and pa.types.is_floating(column.type.value_type)
    lengths = pc.unique(pc.list_value_length(column)).to_pylist() if are_lists else [None]
    if not len(column):
        return np.empty((0, 0), np.float32)
    if len(lengths) != 1 or not lengths[0]:
        got = "none" if {None, 0} & {*lengths} else f"lists of {lengths[0]} and {lengths[1]}"
        raise UserError(f"{file}: {name}: must be a number for each class, got {got}; {REMEDY}")
    parts = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate(parts).reshape(len(column), lengths[0])


def _require_columns(asked: Sequence[str], there: Sequence[str], file: Path) -> None:
    if missing := sorted({*asked} - {*there}):
        raise UserError(f"{file}: must have the columns {', '.join(missing)}; {REMEDY}")


def _require_kinds(table: Any, file: Path) -> None:
    """Check that the known columns of a table hold texts or numbers as they should.

    Raises:
        UserError: One does not, or lacks a value that every row has.
    """
    import pyarrow.types as kinds

    for name in table.column_names:
        column, kind = table[name], table[name].type
        is_right = {
            "text": name not in TEXT or kinds.is_string(kind) or kinds.is_large_string(kind),
            "whole numbers": name not in WHOLE or kinds.is_integer(kind),
            "numbers": name not in REAL or kinds.is_floating(kind) or kinds.is_integer(kind),
        }
        wrong = [what for what, right in is_right.items() if not right]
        if wrong and not kinds.is_null(kind):
            raise UserError(f"{file}: {name}: must be {wrong[0]}, got {kind}; {REMEDY}")
        if name in REQUIRED and column.null_count:
            raise UserError(
                f"{file}: {name}: must have a value in every row, got {column.null_count} without; "
                f"{REMEDY}"
            )


def _parquet(file: Path, most: int) -> Any:
    """Return a run's Parquet file, opened; texts are read as dictionaries, which stay small.

    Args:
        file: The file.
        most: Values that it may hold.

    Raises:
        OSError, pyarrow.ArrowException: It is no Parquet file.
        UserError: It is not a file of the run, or holds too many values.
    """
    import pyarrow.parquet as pq

    require_run_file(file, MAX_TABLE)
    with pq.ParquetFile(file) as table:
        texts, groups = _texts(table.schema_arrow), table.metadata
        columns = [groups.row_group(g) for g in range(groups.num_row_groups)]
        num = sum(group.column(c).num_values for group in columns for c in range(group.num_columns))
    if num > most:
        raise UserError(f"{file}: must hold at most {most:,} values, got {num:,}; {REMEDY}")
    return pq.ParquetFile(file, read_dictionary=texts)


def _texts(schema: Any) -> list[str]:
    """Return the columns of text.

    Raises:
        pyarrow.ArrowInvalid: A column holds something other than texts, numbers and their lists.
    """
    import pyarrow.types as kinds
    from pyarrow import ArrowInvalid

    are_texts = (kinds.is_string, kinds.is_large_string, kinds.is_dictionary)
    texts = [column.name for column in schema if any(of(column.type) for of in are_texts)]
    for column in schema:
        kind = column.type.value_type if kinds.is_list(column.type) else column.type
        if not (column.name in texts or kinds.is_primitive(kind) or kinds.is_null(kind)):
            raise ArrowInvalid(f"column {column.name} is of type {column.type}")
    return texts


def _plain(table: Any, file: Path) -> Any:
    """Return a table with texts in place of dictionaries.

    Raises:
        UserError: They would take more than `MAX_TEXT` bytes.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    coded = [n for n in table.column_names if pa.types.is_dictionary(table[n].type)]
    num = 0
    for chunk in (chunk for name in coded for chunk in table[name].chunks):
        lengths = pc.binary_length(chunk.dictionary).take(chunk.indices)
        num += pc.sum(lengths.cast(pa.int64())).as_py() or 0
    if num > MAX_TEXT:
        raise UserError(f"{file}: must hold at most {MAX_TEXT:,} bytes of text; {REMEDY}")
    fields = [f.with_type(f.type.value_type) if f.name in coded else f for f in table.schema]
    return table.cast(pa.schema(fields))


def _no_table(file: Path, error: Exception) -> UserError:
    return UserError(f"{file}: must be a Parquet file ({one_line(error)}); {REMEDY}")
