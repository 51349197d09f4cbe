"""The log of the stages of a job: what was cached, what was computed, and how long it took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sip.core.progress import say
from sip.core.text import counted


@dataclass
class StageLog:
    """Rows of the stages that are through; each is also printed as it ends.

    Attributes:
        rows: "stage", "cached", "computed", "seconds" of each; of a filter "kept" and "rejected".
    """

    rows: list[dict[str, Any]] = field(default_factory=list)

    def take(self, other: "StageLog") -> None:
        """Take the rows of another log over; those of one stage become one."""
        merged: dict[str, dict[str, Any]] = {}
        for row in other.rows:
            known = merged.setdefault(row["stage"], dict.fromkeys(row, 0))
            for key, value in row.items():
                known[key] = value if key == "stage" else round(known[key] + value, 2)
        self.rows += merged.values()

    @contextmanager
    def stage(self, name: str) -> Iterator[dict[str, Any]]:
        """Time a stage; the block fills in what was `cached` and `computed`.

        It may set the `seconds` that an interrupted start took before.
        """
        row: dict[str, Any] = {"stage": name, "cached": 0, "computed": 0, "seconds": 0.0}
        started = time.monotonic()
        yield row
        row["seconds"] = round(row["seconds"] + time.monotonic() - started, 2)
        self.rows.append(row)
        counts = f"cached {row['cached']}, computed {row['computed']}"
        if name == "dataset":
            counts = counted(row["cached"], "image")
        if "kept" in row:
            counts = f"kept {row['kept']}, rejected {row['rejected']}"
        say(name, f"{counts}, {row['seconds']:.1f} s")
