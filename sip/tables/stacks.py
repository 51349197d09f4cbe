"""What the models of a stack of your own cost to train, from the reports in its folder.

Public models have no such file: their training was somebody else's and is not counted.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from sip.records.read import TrainingRun
from sip.tables.kept import KeptRun
from sip.weights.source import resolve

REPORTS = "*.report.json"
CARD_ONLY = "judge"  # judges the stack and is no part of it
NOTHING = "-"


@dataclass(frozen=True)
class StackCost:
    """What the training of a stack's models took together.

    Attributes:
        name: Folder of the stack.
        steps: Optimiser steps.
    """

    name: str
    steps: int
    seconds: float

    @property
    def text(self) -> str:
        """The cost in one field of a CSV; `of_text` reads it."""
        return f"{self.steps} steps, {self.seconds!r} s, {self.name}"

    @classmethod
    def of_text(cls, text: str) -> Self:
        """Return what `text` wrote."""
        steps, seconds, name = text.split(", ", 2)
        return cls(name, int(steps.split()[0]), float(seconds.split()[0]))


def stack_of(run: TrainingRun) -> StackCost | None:
    """Return the stack that a run generated with, if it tells its cost."""
    if isinstance(run, KeptRun):
        return StackCost.of_text(run.stack) if run.stack else None
    model = run.value("profile.diffusion.model")
    if not run.summary.num_generated or model is None:
        return None
    folder = Path(resolve(str(model))).parent
    reports = _reports(folder).values()
    if not reports:
        return None
    steps, seconds = (sum(report[key] for report in reports) for key in ("steps", "seconds"))
    return StackCost(folder.name, steps, float(seconds))


def stack_rows(runs: Iterable[TrainingRun], keys: Sequence[str]) -> list[list[str]]:
    """Return a row for each stack that runs generated with, if it tells its cost.

    Args:
        runs: Runs of a table.
        keys: Those of the table's columns after the first one; the row's seconds stand below
            "seconds/total", its optimiser steps below "steps".
    """
    stacks = {stack.name: stack for stack in map(stack_of, runs) if stack is not None}
    rows = []
    for name, stack in sorted(stacks.items()):
        values = {"steps": f"{stack.steps:,}", "seconds/total": f"{stack.seconds:,.0f}"}
        title = f"(training the stack {name}, once for all)"
        rows.append([title, *(values.get(key, NOTHING) for key in keys)])
    return rows


def _reports(folder: Path) -> dict[str, dict[str, Any]]:
    if not folder.is_dir():
        return {}
    files = {file.name.split(".")[0]: file for file in sorted(folder.glob(REPORTS))}
    return {part: json.loads(f.read_text()) for part, f in files.items() if part != CARD_ONLY}
