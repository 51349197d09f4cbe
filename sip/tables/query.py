"""Choose finished runs by their values; check that keys and metrics exist."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sip.config.words import near_names, with_value
from sip.core.errors import UserError
from sip.core.text import counted, join_first
from sip.records.read import SHORT, TrainingRun, runs_of
from sip.records.varied import known_keys, plain
from sip.tables.words import metric_name

KINDS = (
    "it must be a key of summary.json, a group such as prompts/guidance, or a key of config.yaml"
)


def select_runs(
    folder: Path,
    experiments: Sequence[str] = (),
    where: Mapping[str, Any] | None = None,
    damaged: list[str] | None = None,
    group: str = "table",
) -> list[TrainingRun]:
    """Return the finished training runs below a folder that have the given values, by name.

    Args:
        folder: Folder of the run folders.
        experiments: Only runs of these; () for all.
        where: Key -> value that a run must have.
        damaged: Gets a line for each damaged run, which is left out; None to refuse them.
        group: Group of the configuration that has `where`.

    Raises:
        UserError: There are none.
    """
    return matching(runs_of(folder, experiments, damaged), where or {}, group)


def matching(
    runs: Iterable[TrainingRun], where: Mapping[str, Any], group: str
) -> list[TrainingRun]:
    """Return the runs that have the values of `<group>.where`; of a list, any one of it.

    Raises:
        UserError: There are none.
    """
    runs = every = list(runs)
    for key, wanted in where.items():
        values = {plain(run.value(key)) for run in runs}
        fitting = {plain(wanted), *map(plain, wanted if isinstance(wanted, list) else ())}
        runs = [run for run in runs if plain(run.value(key)) in fitting]
        if not runs:
            if all(run.value(key) is None for run in every):
                raise UserError(f"{group}.where.{key}: no such key; {_near(key, every)}")
            raise UserError(
                f"{group}.where.{key}: must be one of {', '.join(sorted(values))}, got "
                f"{plain(wanted)}"
            )
    return runs


def require_keys(runs: Iterable[TrainingRun], keys: Iterable[str]) -> None:
    """Refuse a key that no run has.

    Raises:
        UserError: There is one.
    """
    runs = list(runs)
    for key in keys:
        if all(run.value(key) is None for run in runs):
            raise UserError(f"tables: no run has the key {key!r}; {_near(key, runs)}")


def _near(key: str, runs: Sequence[TrainingRun]) -> str:
    """Return which key of the runs may be meant."""
    near = near_names(key, known_keys(runs))
    return f"did you mean {' or '.join(near)}?" if near else KINDS


def require_metric(runs: Iterable[TrainingRun], name: str) -> None:
    """Refuse a metric that no run has.

    Raises:
        UserError: There is none.
    """
    runs = list(runs)
    if all(run.metric(name) is None for run in runs):
        known = sorted({*SHORT, *(key for run in runs for key in run.summary.metrics)})
        raise UserError(f"tables: no run has the metric {name!r}; there are {', '.join(known)}")


def diverged(runs: Iterable[TrainingRun], metric: str) -> list[str]:
    """Return a line on the runs whose metric is not a number; they are left out."""
    values = {run.folder.name: run.metric(metric) for run in runs}
    names = [n for n, value in values.items() if value is not None and not math.isfinite(value)]
    if not names:
        return []
    return [
        f"Diverged, {metric_name(metric)} is not a number, and left out: "
        f"{counted(len(names), 'run')} ({join_first(names)})."
    ]


def unmeasured(runs: Iterable[TrainingRun], metric: str) -> list[str]:
    """Return a line on the runs without a metric of val or test; they are left out.

    Arms that generate nothing have no metric of generated images: that is as it must be.
    """
    lacking = [run for run in runs if run.metric(metric) is None]
    if not lacking or not metric.startswith(("val/", "test/")):
        return []
    command = with_value("python -m sip.evaluate runs={}", str(lacking[0].folder.parent))
    return [
        f"Without {metric_name(metric)}, and left out: {counted(len(lacking), 'run')} "
        f"({join_first([run.folder.name for run in lacking])}); {command} computes all metrics "
        "that their classes allow."
    ]
