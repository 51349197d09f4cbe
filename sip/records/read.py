"""A run folder's files, read as what they may be: damaged, of another version, somebody else's."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sip.config.yamls import read_yaml
from sip.core.errors import UserError

REMEDY = "the run is damaged: delete its folder, and run it again"


def read_summary(file: Path, needs: Sequence[str] = ()) -> dict[str, Any]:
    """Return what a `summary.json` holds.

    Args:
        file: It.
        needs: Keys that a summary with a test accuracy, that of a training, must have.

    Raises:
        UserError: It is no JSON object, or a key is missing.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: expected a run's summary ({_short(error)}); {REMEDY}") from error
    if not isinstance(found, dict):
        raise UserError(f"{file}: expected a run's summary, came {_short(found)}; {REMEDY}")
    missing = [key for key in needs if key not in found]
    if missing and "test_accuracy" in found:
        raise UserError(f"{file}: expected {', '.join(missing)} in it, came without; {REMEDY}")
    return found


def read_config(file: Path) -> dict[str, Any]:
    """Return what a run's `config.yaml` holds; nothing in it is resolved.

    Raises:
        UserError: It is no YAML mapping.
    """
    try:
        found = read_yaml(file)
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: expected YAML ({_short(error)}); {REMEDY}") from error
    if not isinstance(found, dict):
        raise UserError(f"{file}: expected a configuration, came {_short(found)}; {REMEDY}")
    return found


def read_table(file: Path, **options: Any) -> Any:
    """Return one of a run's Parquet files as a table of pyarrow.

    Args:
        file: It.
        options: Of `pyarrow.parquet.read_table`, such as `columns`.

    Raises:
        UserError: It is no Parquet file, or lacks a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file, **options)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{file}: expected a Parquet file ({_short(error)}); {REMEDY}") from error
    if lacks := sorted({*(options.get("columns") or ())} - {*table.column_names}):
        raise UserError(f"{file}: expected the columns {', '.join(lacks)}, came none; {REMEDY}")
    return table


def _short(value: object) -> str:
    return " ".join(str(value).split())[:200] or type(value).__name__
