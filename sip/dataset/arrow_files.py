"""Arrow files with a SHA-256 behind them, for what a start may read in place of the data."""

import hashlib
from pathlib import Path
from typing import Any

from sip.core.files import atomic_file

DIGEST = 32  # bytes


def read_arrow(file: Path, schema: Any, check_metadata: bool = False) -> Any | None:
    """Return the table of a file; None if its schema is another, as another version's may be.

    Args:
        file: As `write_arrow` writes it.
        schema: Expected.
        check_metadata: Whether the schema's metadata must be equal, too.

    Raises:
        OSError: The file cannot be read.
        ValueError: Its checksum is not the one that it was written with; of others' files pyarrow
            raises errors of many kinds.
    """
    import pyarrow as pa

    data = memoryview(file.read_bytes())
    if hashlib.sha256(data[:-DIGEST]).digest() != data[-DIGEST:]:
        raise ValueError("its checksum is not the one that it was written with")
    with pa.ipc.open_stream(data[:-DIGEST]) as stream:
        if not stream.schema.equals(schema, check_metadata):
            return None
        return stream.read_all().combine_chunks()


def write_arrow(file: Path, table: Any) -> None:
    """Write a table through `atomic_file`.

    Raises:
        OSError: The file cannot be written.
    """
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    data = sink.getvalue()
    with atomic_file(file, sync=False) as part, part.open("wb") as opened:
        opened.write(data)
        opened.write(hashlib.sha256(data).digest())
