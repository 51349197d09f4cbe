"""What a step is given: settings, a deadline, and a file that takes its results as they come.

Results are written as soon as they exist, so that a step that is killed at its limit leaves all
that it had measured.
"""

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.gpu.settings import Settings


class StepError(Exception):
    """A step measured what it could, and the result is a failure; one or more lines."""


@dataclass
class Job:
    """One step's run.

    Attributes:
        settings: Of the day.
        deadline: On the clock of `time.monotonic`, when the step is killed.
        scratch: Folder for temporary files, shared by the steps of a day.
        file: JSON file of the results.
        results: What was recorded, name -> value, in that order.
        error: Why the step failed; None if it did not.
    """

    settings: Settings
    deadline: float
    scratch: Path
    file: Path
    results: dict[str, Any] = field(default_factory=dict)
    error: str | None = None

    @property
    def is_cuda(self) -> bool:
        """Whether the work is done on a GPU."""
        return self.settings.device == "cuda"

    def left(self) -> float:
        """Return the seconds until the step is killed."""
        return self.deadline - time.monotonic()

    def record(self, **values: Any) -> None:
        """Write results down; None takes one away."""
        self.results.update(values)
        self.results = {name: value for name, value in self.results.items() if value is not None}
        write_json(self.file, {"results": self.results, "error": self.error})

    def reach(self, name: str, value: float, at_least: float) -> None:
        """Record a value next to what was to be reached."""
        targets = self.results.setdefault("targets", {})
        targets[name] = {"value": value, "at_least": at_least, "met": value >= at_least}
        self.record()

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.is_cuda:
            import torch

            torch.cuda.synchronize()


def write_json(file: Path, value: Any) -> None:
    """Write a JSON file so that a reader sees the old or the new one, never a part."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(part, file)


def rounded(value: float, digits: int = 4) -> float:
    """Return a value with so many significant digits."""
    return float(f"{value:.{digits}g}")
