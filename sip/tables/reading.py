"""Finished runs as the tables see them: any key of the configuration, any metric, predictions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sip.core.errors import UserError
from sip.records.read import read_config, read_summary, read_table

# Rooms that an arm without drawn pictures does not read: what its configuration says of them is
# not true of it.
OFFLINE = ("captions", "scores", "prompts", "images", "mixing")
SHORT = {"test/top1": "test_accuracy", "val/top1": "val_accuracy"}  # beside "metrics"
NEEDS = ("seed", "fingerprint", "experiments", "num_real", "num_drawn")

IN_PERCENT = ("top1", "top5", "accuracy", "per_class")  # how the name of a share ends


@dataclass(frozen=True)
class Predictions:
    """What a run said on one split.

    Attributes:
        ids: Of the pictures, sorted.
        right: (pictures,) bool, in the order of `ids`.
    """

    ids: tuple[str, ...]
    right: np.ndarray


class Run:
    """One finished run.

    Args:
        folder: With `summary.json` and, where they are asked for, `config.yaml` and
            `predictions.parquet`.
        summary: What `summary.json` holds.
    """

    def __init__(self, folder: Path, summary: Mapping[str, Any]) -> None:
        self.folder = folder
        self.summary = summary
        self.seed: int = summary["seed"]
        self.fingerprint: str = summary["fingerprint"]
        self._predictions: dict[str, Predictions | None] = {}

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration."""
        file = self.folder / "config.yaml"
        return read_config(file) if file.is_file() else {}

    def value(self, key: str) -> Any:
        """Return the value of a key of the summary or the configuration, or a group's choice.

        Returns:
            A scalar; None where the run has none, or where it plays no part in the run, such as
            `prompts.noise_rate` in an arm that draws nothing.
        """
        room = key.replace("/", ".").split(".")[0]
        if room in OFFLINE and self.summary.get("recipe", {}).get("offline", True) is None:
            return None
        for found in (
            self.summary.get(key),
            self.summary.get("choices", {}).get(key),
            self._configured(key),
        ):
            if found is not None and not isinstance(found, dict | list):
                return found
        return None

    def _configured(self, key: str) -> Any:
        node: Any = self.config
        for part in key.replace("/", ".").split("."):
            node = node.get(part) if isinstance(node, dict) else None
        return node

    def metric(self, name: str) -> float | None:
        """Return a metric by name; shares in %, times in seconds; None where the run has none.

        Beside the summary's own: `num_train`, and `seconds/train`, `seconds/draw` (device time of
        the pictures used, whichever run drew them), `seconds/total`.
        """
        value = self._metric(name)
        return 100 * value if value is not None and name.endswith(IN_PERCENT) else value

    def _metric(self, name: str) -> float | None:
        summary = self.summary
        found = summary.get("metrics", {}).get(name, summary.get(SHORT.get(name, name)))
        if isinstance(found, int | float) and not isinstance(found, bool):
            return float(found)
        if name == "num_train":
            return float(summary["num_real"] + summary["num_drawn"])
        if name == "seconds/train":
            return self._stage("classifier", "seconds")
        if name == "seconds/draw":
            return self._draw_seconds()
        if name == "seconds/total":
            draw, train = self._draw_seconds(), self._stage("classifier", "seconds")
            return None if draw is None or train is None else draw + train
        return None

    def _draw_seconds(self) -> float | None:
        """Return what drawing cost; None where the run found pictures and does not know."""
        if not self.summary["num_drawn"]:
            return 0.0
        if "draw_seconds" in self.summary:
            return float(self.summary["draw_seconds"])
        return None if self._stage("images", "found") else self._stage("images", "seconds")

    def _stage(self, name: str, column: str) -> float | None:
        rows = [row for row in self.summary.get("stages", []) if row["stage"] == name]
        return float(sum(row.get(column, 0) for row in rows)) if rows else None

    def predictions(self, split: str) -> Predictions | None:
        """Return the predictions on a split; None where the run's folder has none."""
        if split not in self._predictions:
            self._predictions[split] = self._read_predictions(split)
        return self._predictions[split]

    def _read_predictions(self, split: str) -> Predictions | None:
        file = self.folder / "predictions.parquet"
        if not file.is_file():
            return None
        columns = ["sample_id", "split", "label", "logits"]
        table = read_table(file, columns=columns, filters=[("split", "=", split)])
        rows = table.to_pydict()
        order = np.argsort(np.array(rows["sample_id"], dtype=object), kind="stable")
        said = np.array([int(np.argmax(logits)) for logits in rows["logits"]], dtype=int)
        right = said == np.array(rows["label"], dtype=int)
        return Predictions(tuple(rows["sample_id"][n] for n in order), right[order])


def read_runs(
    folder: Path, experiment: str | None = None, where: Mapping[str, Any] | None = None
) -> list[Run]:
    """Return the finished runs below a folder, in the order of their names.

    Args:
        folder: With a folder a run.
        experiment: Only runs of it, if any.
        where: Key -> value that a run must have, if any.

    Raises:
        UserError: There are none.
    """
    files = sorted(folder.glob("*/summary.json"))
    summaries = [(file.parent, read_summary(file, NEEDS)) for file in files]
    read = [Run(*found) for found in summaries if "test_accuracy" in found[1]]
    runs = [run for run in read if experiment in (None, *run.summary["experiments"])]
    if not runs:
        raise UserError(
            f"tables: expected finished runs of experiment {experiment!r} in {folder}, found "
            f"{len(read)} of other experiments; name them with runs= and experiment="
        )
    for key, wanted in (where or {}).items():
        values = {plain(run.value(key)) for run in runs}
        runs = [run for run in runs if plain(run.value(key)) == plain(wanted)]
        if not runs:
            raise UserError(
                f"table.where.{key}={plain(wanted)}: no run has it; there are "
                f"{', '.join(sorted(values))}"
            )
    return runs


def require_keys(runs: Iterable[Run], keys: Iterable[str]) -> None:
    """Refuse a key that no run has.

    Raises:
        UserError: There is one.
    """
    runs = list(runs)
    for key in keys:
        if all(run.value(key) is None for run in runs):
            raise UserError(
                f"tables: no run has the key {key!r}; expected a key of summary.json, a group such "
                "as prompts or prompts/guidance, or a dotted key of config.yaml"
            )


def require_metric(runs: Iterable[Run], name: str) -> None:
    """Refuse a metric that no run has.

    Raises:
        UserError: There is none.
    """
    runs = list(runs)
    if all(run.metric(name) is None for run in runs):
        known = sorted({*SHORT, *(key for run in runs for key in run.summary.get("metrics", {}))})
        raise UserError(f"tables: no run has the metric {name!r}; there are {', '.join(known)}")


def plain(value: Any) -> str:
    """Return a value as tables show it and configurations write it; "-" for None."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
