"""The finished runs of an experiment, read from their folders."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sip.config.cli import conf_folder
from sip.core.errors import UserError
from sip.core.text import without_paths
from sip.records.read import read_config, read_summary, read_table

CONTROL = "none"
NEEDS = (  # what the page says of each run
    *("fingerprint", "experiments", "dataset", "backbone", "augmentation", "seed", "recipe"),
    *("num_real", "num_drawn", "steps", "unet_evaluations", "val_accuracy", "stages"),
    *("versions", "platform", "commit"),
)
HEADER = re.compile(r"#\s*(Question|Command|Cost|Expected):\s*(.*)")
IN_README = re.compile(r"^\*\*Question\.\*\*\s*(.+?)(?:\n\s*\n|\Z)", re.DOTALL | re.MULTILINE)


@dataclass
class Run:
    """A finished training run.

    Attributes:
        folder: Where it lies.
        summary: Its numbers.
        store: Folder of the store that its pictures lie in.
        arm: What it is called beside the others: its augmentation, and what else was varied.
    """

    folder: Path
    summary: dict[str, Any]
    store: Path
    arm: str = ""

    @property
    def group(self) -> str:
        """What it can be compared within: backbone and data set."""
        shots = self.summary.get("shots")
        amount = f", {shots} shots a class" if shots else ""
        return f"{self.summary['backbone']} on {self.summary['dataset']}{amount}"

    @property
    def title(self) -> str:
        """Backbone and arm."""
        return f"{self.summary['backbone']} + {self.arm}"

    @cached_property
    def pictures(self) -> list[dict[str, Any]]:
        """The rows of `pictures.parquet`, drawn ones with what `quality.parquet` says of them."""
        rows = _rows(self.folder / "pictures.parquet")
        quality = {row["id"]: row for row in _rows(self.folder / "quality.parquet")}
        return [{**quality.get(row["id"], {}), **row} for row in rows]


def find_runs(runs: Path, experiment: str | None, store: Path | None) -> list[Run]:
    """Return the finished training runs of an experiment, with the names of their arms.

    Args:
        runs: Folder with one folder a run.
        experiment: Its name; None for all.
        store: Folder of the store; None for the one in each run's configuration.

    Raises:
        UserError: There are none.
    """
    found, others = [], 0
    for file in sorted(runs.glob("*/summary.json")):
        summary = read_summary(file, NEEDS)
        if "test_accuracy" not in summary:
            continue
        if experiment is not None and experiment not in summary["experiments"]:
            others += 1
            continue
        if store is None:
            config = read_config(file.parent / "config.yaml")
        place = store or _store(config, file.parent)
        found.append(Run(file.parent, summary, place))
    if not found:
        raise UserError(
            f"report: expected finished runs of experiment {experiment!r} in {runs}, found "
            f"{others} of other experiments; name them with runs= and experiment="
        )
    _name_arms(found)
    return sorted(found, key=_order)


def _name_arms(runs: Sequence[Run]) -> None:
    """Name each run by its augmentation, and by those settings in which such runs differ."""
    alike = defaultdict(list)
    for run in runs:
        alike[run.group, run.summary["augmentation"]].append(run)
    for (_, name), members in alike.items():
        settings = [dict(_leaves(run.summary["recipe"])) for run in members]
        keys = dict.fromkeys(key for values in settings for key in values)
        varied = [k for k in keys if len({json.dumps(s.get(k)) for s in settings}) > 1]
        for run, values in zip(members, settings, strict=True):
            said = [f"{key.rpartition('.')[2]} {_short(values.get(key))}" for key in varied]
            run.arm = " · ".join([name, *said])


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


def _order(run: Run) -> tuple[Any, ...]:
    """Sort by group; the control first, then single methods, then combinations; then by seed."""
    name = run.summary["augmentation"]
    return run.group, name != CONTROL, name.count("_"), run.arm, run.summary["seed"]


def _store(config: dict[str, Any], folder: Path) -> Path:
    """Return where a run says that its store is."""
    paths = config.get("paths")
    if not isinstance(paths, dict) or not isinstance(paths.get("store"), str):
        raise UserError(
            f"report: expected paths.store in {folder}/config.yaml, came none; say where the store "
            "is with store=..."
        )
    return Path(paths["store"])


def _rows(file: Path) -> list[dict[str, Any]]:
    return read_table(file, use_threads=False).to_pylist() if file.is_file() else []


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
