"""A run as a table's CSV has it: all that tables read of it, in one row."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from sip.core.machine import Machine
from sip.records.read import Predictions, RunRecord
from sip.records.summary import StageCounts, TrainingSummary
from sip.tables.layout import SEPARATOR

SEVERAL = "; "  # between "name=value" of one field
EMPTY = np.empty(0, bool)  # predictions of which only the ids are known


@dataclass(frozen=True)
class RunRow:
    """A run of a table; values are in the metric's unit, shares in %.

    Attributes:
        row_name, column_name: In words.
        setting: Values of the keys that validation chooses; "" if it chooses none.
        value: The table's metric; not a number if the run diverged.
        val, test: Top-1 accuracy, or the metric that chooses in place of val.
        best_step, last_step: Optimiser steps.
        seconds_train, seconds_generate: Times of the run, and of the images that it used.
        also: Metrics that the table shows next to the value.
        shots: Training images a class; None for all.
        fraction: `dataset.fraction`; None if it plays no part.
        generator_seed: `prompts.seed`; "" if nothing was generated.
        run: Folder of the run.
        experiments: Those that asked for it; the one that the table is of comes first.
        choices: Parts of the arm, and its base transform.
        overrides: As typed, absolute paths cut to their last part.
        stack: Name, optimiser steps and seconds of the models' training, if the table shows it.
        limits: Environment variables that limit the instruction set.
        threads: Threads of torch; None if the run did not record its machine.
        libraries: Versions.
        keys: Keys of the table's blocks, rows and columns, and the metric that chooses.
        unlike: Entries of the recipe that should be those of other runs (`sip.tables.mixed`).
    """

    block: str
    row: str
    row_name: str
    column: str
    column_name: str
    setting: str
    seed: int
    metric: str
    value: float
    val: float | None
    test: float | None
    best_step: int
    last_step: int
    num_real: int
    num_generated: int
    unet_evaluations: int
    seconds_train: float
    seconds_generate: float
    also: str
    shots: int | None
    fraction: float | None
    generator_seed: str
    fingerprint: str
    run: str
    experiments: str
    commit: str
    choices: str
    overrides: str
    stack: str
    processor: str
    instructions: str
    limits: str
    threads: int | None
    accelerator: str
    libraries: str
    keys: str
    unlike: str = ""

    @property
    def settings(self) -> dict[str, str]:
        """Key that validation chooses -> value."""
        return _values(self.setting)

    @property
    def layout_keys(self) -> dict[str, str]:
        """What the table's keys are of ("block", "rows", "columns") -> keys.

        And "val" -> the metric in the column `val`, if it is not top-1 accuracy.
        """
        return _values(self.keys)

    @property
    def machine(self) -> Machine | None:
        """The machine; None if the run did not record it."""
        if self.threads is None:
            return None
        return Machine(
            processor=self.processor,
            instructions=self.instructions,
            limits=_values(self.limits),
            threads=self.threads,
            accelerator=self.accelerator or None,
        )


@dataclass(frozen=True)
class KeptRun(RunRecord[TrainingSummary]):
    """A run of a table's CSV.

    Of the summary it has what tables read; the rest is empty, and so is the configuration.

    Attributes:
        values: Key -> value, of the keys that the table names.
        numbers: Metric -> value, in the unit of the table.
        stored: Split -> predictions; the ids are one hash of all, and of val nothing else.
        stack: As in `RunRow`.
        unlike: Key -> value.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    numbers: Mapping[str, float | None] = field(default_factory=dict)
    stored: Mapping[str, Predictions] = field(default_factory=dict)
    stack: str = ""
    unlike: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, row: RunRow, file: Path, select_by: str, predictions: Mapping[str, Predictions]
    ) -> Self:
        """Return the run of a row.

        Args:
            row: The row.
            file: The CSV.
            select_by: The metric that the row has as `val`.
            predictions: Split -> predictions.
        """
        also = {name: float(number) for name, number in _values(row.also).items()}
        own = {"test/top1": row.test, select_by: row.val, row.metric: row.value}
        return cls(
            file.with_name(row.run),
            _summary(row),
            _places(row) | row.settings | {"prompts.seed": row.generator_seed or None}
            | {"dataset.fraction": row.fraction},
            also | own,
            predictions,
            row.stack,
            _values(row.unlike),
        )  # fmt: skip

    @cached_property
    def config(self) -> dict[str, Any]:
        """Nothing: the names of rows are in the file."""
        return {}

    @cached_property
    def predictions(self) -> dict[str, Predictions]:
        """Split -> predictions."""
        return dict(self.stored)

    def value(self, key: str) -> Any:
        """Return a value of a key that the table names; None of others."""
        return self.values.get(key)

    def metric(self, name: str) -> float | None:
        """Return a metric as the table shows it; None if the file does not have it."""
        return self.numbers[name] if name in self.numbers else super().metric(name)


def _places(row: RunRow) -> dict[str, str]:
    """Return the keys of the table -> the run's values; those that play no part are left out."""
    keys = row.layout_keys
    names = keys["rows"].split(SEPARATOR)
    found = dict(zip(names, row.row.split(SEPARATOR, len(names) - 1), strict=False))
    found |= {keys["block"]: row.block, keys["columns"]: row.column}
    return {key: value for key, value in found.items() if key and value != "-"}


def _summary(row: RunRow) -> TrainingSummary:
    trained = StageCounts(stage="classifier", cached=0, computed=1, seconds=row.seconds_train)
    return TrainingSummary(
        name=row.run,
        fingerprint=row.fingerprint,
        dataset="",
        num_real=row.num_real,
        num_generated=row.num_generated,
        unet_evaluations=row.unet_evaluations,
        stages=(trained,),
        command=None,
        versions=_values(row.libraries),
        platform="",
        machine=row.machine,
        commit=row.commit or None,
        recipe={},
        experiments=tuple(row.experiments.split(SEVERAL)) if row.experiments else (),
        backbone="",
        augmentation="",
        seed=row.seed,
        shots=row.shots,
        leaks={},
        num_val=0,
        num_test=0,
        steps=row.last_step,
        epochs=0.0,
        best_step=row.best_step,
        best_epoch=0.0,
        val_accuracy=float("nan"),
        test_accuracy=float("nan"),
        generation_seconds=row.seconds_generate,
        contact_sheet=None,
        overrides=tuple(shlex.split(row.overrides)),
        choices=_values(row.choices),
    )


def _values(pairs: str) -> dict[str, str]:
    """Return name -> value of "name=value; ..."."""
    found = (pair.partition("=") for pair in pairs.split(SEVERAL) if pair)
    return {name: value for name, _, value in found}
