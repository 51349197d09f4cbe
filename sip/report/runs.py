"""The finished runs of an experiment, read from their folders, with the names of their arms."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sip.core.paths import conf_folder
from sip.core.text import without_paths
from sip.core.uri import Place, place_of
from sip.records.read import TrainingRun, runs_of, swept_keys
from sip.records.summary import BASE
from sip.records.varied import NAMED, named, varied_keys
from sip.tables.bases import has_unlike_bases

CONTROL = "none"
GROUP = ("backbone", "dataset", "dataset.shots")  # keys of runs that can be compared
MAX_NAME = 120  # characters of an arm's name
HEADER = re.compile(r"#\s*(Question|Command|Cost|Expected):\s*(.*)")
IN_README = re.compile(r"^\*\*Question\.\*\*\s*(.+?)(?:\n\s*\n|\Z)", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class NamedRun:
    """A finished run with what the page calls it.

    Attributes:
        record: The run.
        store: The store that its images are in; None if no one says.
        arm: The settings in which it differs from other runs, in words.
    """

    record: TrainingRun
    store: Place | None
    arm: str

    @property
    def group(self) -> str:
        """What it can be compared within: backbone and data set."""
        summary = self.record.summary
        shots = f", {summary.shots} shots a class" if summary.shots else ""
        return f"{summary.backbone} on {summary.dataset}{shots}"

    @property
    def title(self) -> str:
        """Backbone and arm."""
        return f"{self.record.summary.backbone} + {self.arm}"

    @property
    def accuracy(self) -> float | None:
        """Test top-1 in %; None if training diverged and it is not a number."""
        value = 100 * self.record.summary.test_accuracy
        return value if math.isfinite(value) else None


def find_runs(
    runs: Path, experiments: Sequence[str], store: Place | None, damaged: list[str]
) -> list[NamedRun]:
    """Return the finished training runs of experiments, with the names of their arms.

    Args:
        runs: Folder of the run folders.
        experiments: Their names; () for all.
        store: The store; None for the one in each run's configuration.
        damaged: Gets a line for each run that cannot be read and is left out.

    Raises:
        UserError: There are none.
    """
    records = runs_of(runs, experiments, damaged)
    names = arm_names(records, experiments)
    found = [
        NamedRun(run, store or _store(run), name) for run, name in zip(records, names, strict=True)
    ]
    return sorted(found, key=_order)


def arm_names(runs: Sequence[TrainingRun], experiments: Sequence[str] = ()) -> list[str]:
    """Return a name for each run, by the settings that tell arms apart; as tables name them.

    An augmentation that all runs share is named only next to base transforms that differ.
    """
    keys = varied_keys(runs, swept_keys(runs, experiments), GROUP)
    if BASE in keys and NAMED[0] not in keys:
        keys.insert(0, NAMED[0])
    hides = BASE not in keys and has_unlike_bases(
        runs, lambda run: tuple(run.value(key) for key in GROUP)
    )
    whole = []
    for run in runs:
        name = named(run, keys) or run.summary.augmentation
        whole.append(name + (f", base {run.summary.base}" if hides else ""))
    return _short(whole)


def _short(names: Sequence[str]) -> list[str]:
    """Return names without folders and of bounded length; those that differ stay different."""
    shown: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for name in dict.fromkeys(names):
        text = without_paths(name)
        text = text if len(text) <= MAX_NAME else f"{text[: MAX_NAME - 1]}…"
        counts[text] += 1
        shown[name] = text if counts[text] == 1 else f"{text} ({counts[text]})"
    return [shown[name] for name in names]


def is_baseline(run: TrainingRun) -> bool:
    """Return whether a run trains without any augmentation."""
    return run.summary.augmentation == CONTROL


def _store(run: TrainingRun) -> Place | None:
    store = run.value("paths.store")
    return place_of(store, "store") if isinstance(store, str) else None


def _order(run: NamedRun) -> tuple[object, ...]:
    """Sort by group; the control first, then single methods, then combinations; then by seed."""
    summary = run.record.summary
    name, has_base = summary.augmentation, summary.base != "none"
    return run.group, name != CONTROL, name.count("_"), has_base, run.arm, summary.seed


def header_of(experiment: str, folder: Path) -> dict[str, str]:
    """Return what an experiment says of itself: "Question", "Command", "Cost", "Expected".

    Args:
        experiment: Its name; sweep/<name>.yaml or exp/<name>.yaml may open with these words.
        folder: Its folder of documents, whose README may hold the question.
    """
    facts: dict[str, str] = {}
    files = [conf_folder() / group / f"{experiment}.yaml" for group in ("sweep", "exp")]
    for file in files:
        if file.is_file():
            facts |= _header(file.read_text())
            break
    readme = folder / "README.md"
    if readme.is_file() and (match := IN_README.search(readme.read_text())):
        facts["Question"] = " ".join(match[1].split())
    return facts


def _header(text: str) -> dict[str, str]:
    facts: dict[str, list[str]] = {}
    last: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if match := HEADER.match(line):
            last = facts.setdefault(match[1], [match[2].strip()])
        elif not line.startswith("# @"):
            last.append(line.lstrip("# ").strip())
    return {key: ("\n" if key == "Command" else " ").join(lines) for key, lines in facts.items()}
