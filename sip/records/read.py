"""Read run folders. They may be damaged or somebody else's: every error is one line."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from sip.config.words import near_names
from sip.core.errors import UserError
from sip.core.files import read_yaml
from sip.core.paths import SUMMARY
from sip.core.text import join_first
from sip.core.uri import Place, place_of
from sip.dataset.subsets import FREQUENCY_GROUPS
from sip.records.files import MAX_RECORD, REMEDY, one_line, require_run_file
from sip.records.parquet import iterate_rows, matrix_of, read_table
from sip.records.summary import TOP1, GenerationSummary, Summary, TrainingSummary

IMAGES, QUALITY = "images.parquet", "quality.parquet"
# Stages that a run without generated images does not have: the values of its configuration below
# these keys play no part in it.
GENERATION = ("captions", "scores", "prompts", "images", "mixing")
# Facts of a prompt that a generator may not read -> the beginning of their keys.
UNREAD = {
    "noise_rate": ["prompts", "noise_rate"],
    "guidance_scale": ["prompts", "guidance"],
    "negative_prompt": ["prompts", "negative_prompt"],
}
SHORT = {metric: name for name, metric in TOP1.items()}  # fields of their own, not in "metrics"
MAX_DIGITS = 20  # of a whole number
# How the name of an accuracy ends, which is shown in %.
IN_PERCENT = ("top1", "top5", "accuracy", "per_class", *(f"/{name}" for name in FREQUENCY_GROUPS))

AnySummary = TypeVar("AnySummary", bound=Summary, covariant=True)


@dataclass(frozen=True)
class Predictions:
    """What a run predicted on one split.

    Attributes:
        ids: Ids of the images, sorted.
        right: (images,) bool, in the order of `ids`.
    """

    ids: tuple[str, ...]
    right: np.ndarray


@dataclass(frozen=True)
class RunRecord(Generic[AnySummary]):
    """A finished run, read from its folder; larger files are read when they are asked for."""

    folder: Path
    summary: AnySummary

    @property
    def fingerprint(self) -> str:
        """Hash of the recipe."""
        return self.summary.fingerprint

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration.

        Raises:
            UserError: `config.yaml` is no YAML mapping.
        """
        return read_config(self.folder / "config.yaml")

    @property
    def store(self) -> Place:
        """The store that the run used.

        Raises:
            UserError: The configuration does not name it.
        """
        store = self._configured("paths.store")
        if not isinstance(store, str):
            raise UserError(
                f"{self.folder}/config.yaml: paths.store: must be a folder, got {store!r}; say "
                "where the store is with store=..."
            )
        return place_of(store, "store")

    def images(self, **options: Any) -> list[dict[str, Any]]:
        """Return the rows of every image the run used, real and generated.

        Args:
            options: Arguments of `pyarrow.parquet.read_table`, such as `columns` and `filters`.

        Raises:
            UserError: The file is missing or damaged, or lacks a column.
        """
        return read_images(self.folder, **options)

    def iterate_images(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of every image the run used; few of them are in memory at a time.

        Raises:
            UserError: As `images`.
        """
        return iterate_rows(self.folder / IMAGES)

    def image_quality(self) -> dict[str, dict[str, Any]]:
        """Return image id -> its similarities; empty if nothing was measured."""
        file = self.folder / QUALITY
        rows = read_table(file).to_pylist() if file.is_file() else []
        return {row["id"]: row for row in rows}

    @cached_property
    def predictions(self) -> dict[str, Predictions]:
        """Split -> predictions; empty if none are stored."""
        file = self.folder / "predictions.parquet"
        if not file.is_file():
            return {}
        found: dict[str, list[tuple[str, bool]]] = {}
        table = read_table(file, columns=["sample_id", "split", "label", "logits"])
        logits = matrix_of(table["logits"], "logits", file)
        right = (logits.argmax(1) == table["label"].to_numpy()).tolist() if len(table) else []
        names = table["sample_id"].to_pylist(), table["split"].to_pylist()
        for sample_id, split, is_right in zip(*names, right, strict=True):
            found.setdefault(split, []).append((sample_id, is_right))
        for rows in found.values():
            rows.sort(key=lambda row: row[0])
        return {
            split: Predictions(tuple(id_ for id_, _ in rows), np.array([r for _, r in rows]))
            for split, rows in found.items()
        }

    def value(self, key: str) -> Any:
        """Return a value of the summary or the configuration, or the choice of a group.

        Returns:
            A scalar, of a list its text; None if the run has no such key, or if it plays no part in
            the run, such as `prompts.noise_rate` in an arm that generates nothing.
        """
        generates = self.summary.recipe.get("offline") is not None
        if self.is_unread(key) or (
            key.replace("/", ".").split(".")[0] in GENERATION and not generates
        ):
            return None
        choices = getattr(self.summary, "choices", {})
        for value in (getattr(self.summary, key, None), choices.get(key), self._configured(key)):
            if isinstance(value, str | int | float):
                return value
            if isinstance(value, list):
                return list_text(value)
        return None

    def is_unread(self, key: str) -> bool:
        """Return whether a key plays no part in the run's images, as the noise rate of txt2img."""
        path = key.replace("/", ".").split(".")[:2]
        return path in [UNREAD.get(name) for name in getattr(self.summary, "unread", ())]

    def metric(self, name: str) -> float | None:
        """Return a metric by name, shares in %, times in seconds; None if the run has none.

        Next to those of the summary there are `seconds/train`, `seconds/generate` (device time of
        the images used, whichever run generated them) and `seconds/total`.
        """
        summary = self.summary
        values = {
            "seconds/train": summary.seconds("classifier"),
            "seconds/generate": getattr(summary, "generation_seconds", None),
            **summary.metrics,
        }
        if name == "seconds/total":
            parts = values["seconds/train"], values["seconds/generate"]
            return None if None in parts else float(sum(part or 0.0 for part in parts))
        value = values.get(name, getattr(summary, SHORT.get(name, name), None))
        if not isinstance(value, int | float) or isinstance(value, bool):
            return None
        return 100.0 * value if name.endswith(IN_PERCENT) else float(value)

    def _configured(self, key: str) -> Any:
        node: Any = self.config
        for part in key.replace("/", ".").split("."):
            node = node.get(part) if isinstance(node, dict) else None
        return node


TrainingRun = RunRecord[TrainingSummary]


def list_text(values: Iterable[Any]) -> str:
    """Return a list as it is typed, such as "[0.5,0.75]"."""
    texts = (one if isinstance(one, str) else json.dumps(one, default=str) for one in values)
    return f"[{','.join(texts)}]"


def read_run(folder: Path) -> RunRecord[Summary]:
    """Return a finished run.

    Raises:
        UserError: Its summary is missing or damaged.
    """
    return RunRecord(folder, read_summary(folder / SUMMARY))


def training_runs(runs: Path, damaged: list[str] | None = None) -> list[TrainingRun]:
    """Return the finished training runs below a folder, by name.

    Args:
        runs: The folder.
        damaged: Gets a line for each run whose summary or configuration is damaged, and which is
            left out; None to refuse damaged summaries.

    Raises:
        UserError: A summary is damaged, and `damaged` is None.
    """
    found = []
    for file in sorted(runs.glob(f"*/{SUMMARY}")):
        try:
            summary = read_summary(file)
            if not isinstance(summary, TrainingSummary):
                continue
            run = RunRecord(file.parent, summary)
            if damaged is not None:
                _ = run.config
        except UserError as error:
            if damaged is None:
                raise
            damaged.append(str(error))
        else:
            found.append(run)
    return found


def runs_of(
    runs: Path, experiments: Sequence[str] = (), damaged: list[str] | None = None
) -> list[TrainingRun]:
    """Return the finished training runs of experiments, by name.

    Args:
        runs: Folder of the run folders.
        experiments: Their names; () for all runs.
        damaged: As for `training_runs`.

    Raises:
        UserError: An experiment has none, or a summary is damaged, and `damaged` is None.
    """
    if not runs.is_dir():
        near = near_names(runs.name, [path.name for path in runs.parent.glob("*/")])
        fix = f"did you mean {' or '.join(near)}?" if near else "name it with runs="
        raise UserError(f"runs: must be a folder with runs, got {runs}, which is not there; {fix}")
    every = training_runs(runs, damaged)
    if not every:
        raise UserError(
            f"runs: must hold finished training runs, got none in {runs}; name "
            "another folder with runs="
        )
    known = {name: None for run in every for name in run.summary.experiments if name}
    for name in experiments:
        if name not in known:
            near = near_names(name, list(known))
            fix = (
                f"did you mean {' or '.join(near)}?"
                if near
                else f"there are {join_first([*known])}"
            )
            raise UserError(
                f"experiment: must be one with finished runs in {runs}, got {name!r}; "
                f"{fix if known else 'these runs belong to no experiment'}"
            )
    asked = set(experiments)
    return [run for run in every if not asked or not asked.isdisjoint(run.summary.experiments)]


def swept_keys(runs: Iterable[TrainingRun], experiments: Sequence[str] = ()) -> list[str]:
    """Return the keys that the sweeps of experiments varied, as typed; of all runs for ().

    They include `seed`, and keys that play no part in some runs (`RunRecord.value`).
    """
    keys: dict[str, None] = {}
    for run in runs:
        for name, swept in run.summary.swept.items():
            if not experiments or name in experiments:
                keys |= dict.fromkeys(swept)
    return list(keys)


def finished_folders(runs: Path, fingerprint: str) -> list[Path]:
    """Return the folders of the finished runs with a fingerprint, whatever their names."""
    return [file.parent for file in sorted(runs.glob(f"*-{fingerprint}/{SUMMARY}"))]


def read_images(folder: Path, **options: Any) -> list[dict[str, Any]]:
    """Return the rows of every image a run used; the options are those of `read_table`."""
    rows: list[dict[str, Any]] = read_table(folder / IMAGES, **options).to_pylist()
    return rows


def read_summary(file: Path) -> Summary:
    """Return the summary that a `summary.json` holds.

    Raises:
        UserError: It is missing, no JSON object, or lacks a key.
    """
    try:
        text = require_run_file(file, MAX_RECORD).read_text(encoding="utf-8")
        values = json.loads(text, parse_int=_whole)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: must be a run's summary ({one_line(error)}); {REMEDY}") from error
    kinds = {kind.kind: kind for kind in (TrainingSummary, GenerationSummary)}
    if not isinstance(values, dict) or values.get("kind") not in list(kinds):
        raise UserError(f"{file}: must be a run's summary, got {one_line(values)}; {REMEDY}")
    try:
        return kinds[values["kind"]].from_dict(values)
    except UserError as error:
        raise UserError(f"{file}: {error}; {REMEDY}") from error


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def read_config(file: Path) -> dict[str, Any]:
    """Return what a run's `config.yaml` holds; nothing in it is resolved.

    Raises:
        UserError: It is no YAML mapping.
    """
    try:
        found = read_yaml(require_run_file(file, MAX_RECORD))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: must be YAML ({one_line(error)}); {REMEDY}") from error
    if not isinstance(found, dict):
        raise UserError(f"{file}: must be a configuration, got {one_line(found)}; {REMEDY}")
    return found
