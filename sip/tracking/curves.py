"""A run's `metrics.csv` is whole although the run was killed and went on.

Lightning's CSV logger begins a new file at each start. So the old one is put aside as
`metrics-1.csv`, `metrics-2.csv`, ... before, and the parts are joined at the end: of the steps that
were logged twice, the later start's count.
"""

import csv
from pathlib import Path
from typing import Any

from sip.core.files import write_atomically

NAME = "metrics.csv"


def put_aside(folder: Path, goes_on: bool) -> None:
    """Keep the curve of an earlier start, where the training goes on from it.

    Args:
        folder: Of the run.
        goes_on: There is a checkpoint; else what is there is of a start that came to nothing.
    """
    parts = _parts(folder)
    if not goes_on:
        for part in parts:
            part.unlink()
    elif (folder / NAME).exists():
        (folder / NAME).rename(folder / f"metrics-{len(parts) + 1}.csv")


def join(folder: Path) -> None:
    """Join the parts into one `metrics.csv` and remove them."""
    parts = _parts(folder)
    if not parts:
        return
    rows: list[dict[str, Any]] = []
    for file in [*parts, folder / NAME]:
        with file.open(newline="") as opened:
            newer = list(csv.DictReader(opened))
        first = min((int(row["step"]) for row in newer), default=0)
        rows = [row for row in rows if int(row["step"]) < first] + newer
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [",".join(columns)]
    lines += [",".join(row.get(column) or "" for column in columns) for row in rows]
    write_atomically(folder / NAME, "\n".join(lines) + "\n")
    for part in parts:
        part.unlink()


def _parts(folder: Path) -> list[Path]:
    """Return the parts of earlier starts, the oldest first."""
    return sorted(folder.glob("metrics-*.csv"), key=lambda part: int(part.stem.split("-")[1]))
