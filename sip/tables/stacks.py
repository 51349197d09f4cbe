"""What the models of a stack of your own cost to train, from the reports in its folder.

Public models have no such file: their training was somebody else's and is not counted.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sip.records.read import TrainingRun
from sip.weights.source import resolve

REPORTS = "*.report.json"
CARD_ONLY = "judge"  # judges the stack and is no part of it
NOTHING = "-"


def stack_rows(runs: Iterable[TrainingRun], header: Sequence[str]) -> list[list[str]]:
    """Return a row for each stack that runs generated with, if it tells its cost.

    Args:
        runs: Runs of a table.
        header: The table's; the row's seconds stand below "seconds/total", its optimiser steps
            below "steps".
    """
    folders: dict[str, dict[str, Any]] = {}
    for run in runs:
        model = run.value("profile.diffusion.model")
        if not run.summary.num_generated or model is None:
            continue
        folder = Path(resolve(str(model))).parent
        if reports := _reports(folder):
            folders[folder.name] = reports
    rows = []
    for name, reports in sorted(folders.items()):
        values = {
            header[0]: f"(training the stack {name}, once for all)",
            "steps": f"{sum(report['steps'] for report in reports.values()):,}",
            "seconds/total": f"{sum(report['seconds'] for report in reports.values()):,.0f}",
        }
        rows.append([values.get(column, NOTHING) for column in header])
    return rows


def _reports(folder: Path) -> dict[str, dict[str, Any]]:
    if not folder.is_dir():
        return {}
    files = {file.name.split(".")[0]: file for file in sorted(folder.glob(REPORTS))}
    return {part: json.loads(f.read_text()) for part, f in files.items() if part != CARD_ONLY}
