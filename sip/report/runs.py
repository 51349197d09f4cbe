"""The finished runs of an experiment, read from their folders."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sip.core.paths import conf_folder
from sip.core.text import without_paths
from sip.records.read import TrainingRun, runs_of

CONTROL = "none"
HEADER = re.compile(r"#\s*(Question|Command|Cost|Expected):\s*(.*)")
IN_README = re.compile(r"^\*\*Question\.\*\*\s*(.+?)(?:\n\s*\n|\Z)", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class NamedRun:
    """A finished run with what the page calls it.

    Attributes:
        record: The run.
        store: Folder of the store that its images lie in.
        arm: Its augmentation, and the other settings that differ between such runs.
    """

    record: TrainingRun
    store: Path
    arm: str

    @property
    def group(self) -> str:
        """What it can be compared within: backbone and data set."""
        return _group(self.record)

    @property
    def title(self) -> str:
        """Backbone and arm."""
        return f"{self.record.summary.backbone} + {self.arm}"


def find_runs(runs: Path, experiment: str | None, store: Path | None) -> list[NamedRun]:
    """Return the finished training runs of an experiment, with the names of their arms.

    Args:
        runs: Folder of the run folders.
        experiment: Its name; None for all.
        store: Folder of the store; None for the one in each run's configuration.

    Raises:
        UserError: There are none.
    """
    records = runs_of(runs, experiment)
    arms = _arms(records)
    found = [NamedRun(run, store or run.store, arms[run.folder]) for run in records]
    return sorted(found, key=_order)


def _group(run: TrainingRun) -> str:
    summary = run.summary
    shots = f", {summary.shots} shots a class" if summary.shots else ""
    return f"{summary.backbone} on {summary.dataset}{shots}"


def _arms(runs: Sequence[TrainingRun]) -> dict[Path, str]:
    """Return folder -> augmentation, with those settings in which such runs differ."""
    alike = defaultdict(list)
    for run in runs:
        alike[_group(run), run.summary.augmentation].append(run)
    arms = {}
    for (_, name), members in alike.items():
        settings = [dict(_leaves(run.summary.recipe)) for run in members]
        keys = dict.fromkeys(key for values in settings for key in values)
        varied = [k for k in keys if len({json.dumps(s.get(k)) for s in settings}) > 1]
        for run, values in zip(members, settings, strict=True):
            texts = [f"{key.rpartition('.')[2]} {_short(values.get(key))}" for key in varied]
            arms[run.folder] = " · ".join([name, *texts])
    return arms


def _leaves(recipe: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values of a recipe without its seeds."""
    if not isinstance(recipe, dict):
        yield prefix, recipe
        return
    for key, value in recipe.items():
        if key != "seed":
            yield from _leaves(value, f"{prefix}.{key}".lstrip("."))


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else without_paths(str(value))
    return text if len(text) <= 24 else f"{text[:23]}…"


def _order(run: NamedRun) -> tuple[Any, ...]:
    """Sort by group; the control first, then single methods, then combinations; then by seed."""
    summary = run.record.summary
    name = summary.augmentation
    return run.group, name != CONTROL, name.count("_"), run.arm, summary.seed


def header_of(experiment: str | None, folder: Path) -> dict[str, str]:
    """Return what an experiment says of itself: "Question", "Command", "Cost", "Expected".

    Args:
        experiment: Its name; sweep/<name>.yaml or exp/<name>.yaml may open with these words.
        folder: Its folder of documents, whose README may hold the question.
    """
    said: dict[str, str] = {}
    files = [conf_folder() / group / f"{experiment}.yaml" for group in ("sweep", "exp")]
    for file in files:
        if file.is_file():
            said |= _header(file.read_text())
            break
    readme = folder / "README.md"
    if readme.is_file() and (match := IN_README.search(readme.read_text())):
        said["Question"] = " ".join(match[1].split())
    return said


def _header(text: str) -> dict[str, str]:
    said: dict[str, list[str]] = {}
    last: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if match := HEADER.match(line):
            last = said.setdefault(match[1], [match[2].strip()])
        elif not line.startswith("# @"):
            last.append(line.lstrip("# ").strip())
    return {key: ("\n" if key == "Command" else " ").join(lines) for key, lines in said.items()}
