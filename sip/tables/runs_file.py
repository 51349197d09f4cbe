"""A table's values per seed, and its predictions: all that is needed to compute it again.

    <output>_runs.csv          a row for each run: place in the table, seed, values, machine
    <output>_predictions.npz   for each run whether each test image was right, a bit an image

Both are small enough to be committed next to the table.
"""

import csv
import hashlib
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from sip.core.errors import UserError
from sip.core.files import write_atomically
from sip.core.machine import Machine
from sip.records.read import Predictions, TrainingRun
from sip.records.varied import plain
from sip.tables.cells import Place, TableCell, means
from sip.tables.layout import TableLayout
from sip.tables.selected import Choice, Setting, choose

RUNS, PREDICTIONS = "_runs.csv", "_predictions.npz"
MAX_BYTES = 2**28  # of a file
SEVERAL = "; "  # between "name=value" of one field


@dataclass(frozen=True)
class RunRow:
    """A run of a table; values are in the metric's unit, shares in %.

    Attributes:
        row_name, column_name: In words.
        setting: Values of the keys that validation chooses; "" if it chooses none.
        value: The table's metric.
        val, test: Top-1 accuracy, or the metric that chooses in place of val.
        best_step, last_step: Optimiser steps.
        limits: Environment variables that limit the instruction set.
        threads: Threads of torch; None if the run did not record its machine.
        libraries: Versions.
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
    fingerprint: str
    processor: str
    instructions: str
    limits: str
    threads: int | None
    accelerator: str
    libraries: str

    @property
    def made_by(self) -> tuple[str, str]:
        """The machine and the library versions, in words."""
        libraries = ", ".join(self.libraries.replace("=", " ").split(SEVERAL))
        if self.threads is None:
            return "not recorded", libraries
        limits = dict(pair.split("=", 1) for pair in self.limits.split(SEVERAL) if pair)
        machine = Machine(
            processor=self.processor,
            instructions=self.instructions,
            limits=limits,
            threads=self.threads,
            accelerator=self.accelerator or None,
        )
        return machine.line(), libraries


@dataclass(frozen=True)
class KeptRun:
    """A run as these files have it.

    Attributes:
        folder: The CSV.
        predictions: Split -> predictions; the ids are one hash of all, and of val nothing else.
    """

    folder: Path
    fingerprint: str
    predictions: Mapping[str, Predictions]


def run_rows(runs: Sequence[TrainingRun], layout: TableLayout) -> list[RunRow]:
    """Return the rows of the runs that have the table's metric, candidates of a choice too."""
    rows = []
    for run in runs:
        value = run.metric(layout.value)
        if value is None or not np.isfinite(value):
            continue
        summary, machine = run.summary, run.summary.machine
        rows.append(
            RunRow(
                block=layout.block_of(run),
                row=layout.row_of(run),
                row_name=layout.row_name(layout.row_of(run)),
                column=layout.column_of(run),
                column_name=layout.column_name(layout.column_of(run)),
                setting=SEVERAL.join(
                    f"{key}={plain(run.value(key))}"
                    for key in layout.select
                    if run.value(key) is not None
                ),
                seed=summary.seed,
                metric=layout.value,
                value=value,
                val=run.metric(layout.select_by),
                test=run.metric("test/top1"),
                best_step=summary.best_step,
                last_step=summary.steps,
                fingerprint=summary.fingerprint,
                processor=machine.processor if machine else "",
                instructions=machine.instructions if machine else "",
                limits=_pairs(machine.limits) if machine else "",
                threads=machine.threads if machine else None,
                accelerator=(machine.accelerator or "") if machine else "",
                libraries=_pairs(summary.versions),
            )
        )
    return sorted(rows, key=lambda r: (r.block, r.row, r.column, r.setting, r.seed))


def write_rows(rows: Sequence[RunRow], path: Path) -> Path:
    """Write `<path>_runs.csv`; floats in full."""
    file = path.with_name(path.name + RUNS)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [field.name for field in fields(RunRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(asdict, rows))
    write_atomically(file, stream.getvalue())
    return file


def write_predictions(runs: Sequence[TrainingRun], path: Path) -> Path | None:
    """Write `<path>_predictions.npz`, of the runs that have those of test; None if none has."""
    runs = sorted(
        (run for run in runs if "test" in run.predictions), key=lambda run: run.fingerprint
    )
    if not runs:
        return None
    right = [run.predictions["test"].right for run in runs]
    file = path.with_name(path.name + PREDICTIONS)
    stream = io.BytesIO()
    np.savez_compressed(
        stream,
        fingerprint=np.array([run.fingerprint for run in runs]),
        test_ids=np.array([_hash(run, "test") for run in runs]),
        val_ids=np.array([_hash(run, "val") for run in runs]),
        num_test=np.array([len(bits) for bits in right]),
        right=np.concatenate([np.packbits(bits.astype(bool)) for bits in right]),
    )
    file.write_bytes(stream.getvalue())
    return file


def read_cells(
    file: Path, layout: TableLayout
) -> tuple[dict[Place, TableCell], list[Choice], list[RunRow]]:
    """Return a table's cells from its two files, what validation chose, and the rows.

    Args:
        file: `<path>_runs.csv`; the predictions next to it are read if they are there.
        layout: Layout of the table; rows and columns are the file's.

    Raises:
        UserError: A file is missing or no such file, or has two runs of one cell and seed.
    """
    rows = read_rows(file)
    kept = _read_predictions(file)
    groups: dict[Place, dict[str, dict[int, RunRow]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        by_seed = groups[row.block, row.row, row.column][row.setting]
        if by_seed.setdefault(row.seed, row) is not row:
            raise _no_file(file, f"two runs of {row.row}, seed {row.seed}")
    found: dict[Place, TableCell] = {}
    choices = []
    for place, settings in sorted(groups.items()):
        setting = next(iter(settings))
        if len(settings) > 1:
            values: dict[Setting, Mapping[int, float]] = {
                (name,): {seed: row.val for seed, row in by_seed.items() if row.val is not None}
                for name, by_seed in settings.items()
            }
            (setting,), value, num_seeds = choose(values, " × ".join(filter(None, place)))
            stated = tuple(setting.split(SEVERAL))
            choices.append(Choice(place, stated, value, len(settings), num_seeds))
        chosen = settings[setting]
        found[place] = TableCell(
            *place,
            runs={},
            values={seed: row.value for seed, row in chosen.items()},
            validation={seed: row.val for seed, row in chosen.items() if row.val is not None},
            kept={
                seed: kept.get(row.fingerprint, KeptRun(file, row.fingerprint, {}))
                for seed, row in chosen.items()
            },
        )
    if layout.mean and any(column for _, _, column in found):
        found |= means(found, layout)
    return found, choices, rows


def read_rows(file: Path) -> list[RunRow]:
    """Read a `<path>_runs.csv`.

    Raises:
        UserError: It is missing or no such file.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        if file.stat().st_size > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES:,} bytes")
        with file.open(newline="", encoding="utf-8") as stream:
            lines: list[dict[str, Any]] = list(csv.DictReader(stream))
        optional = ("val", "test", "threads")
        stated = [
            {key: None if key in optional and not text else text for key, text in line.items()}
            for line in lines
        ]
        rows: list[RunRow] = TypeAdapter(list[RunRow]).validate_python(stated)
        if not rows:
            raise ValueError("it has no run")
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc'][1:]))}: {first['msg'].lower()}"
        raise _no_file(file, reason) from error
    except (OSError, ValueError) as error:
        raise _no_file(file, str(error)) from error
    return rows


def _read_predictions(file: Path) -> dict[str, KeptRun]:
    """Return fingerprint -> run; empty if there is no file of predictions."""
    place = file.with_name(file.name.removesuffix(RUNS) + PREDICTIONS)
    if not place.is_file():
        return {}
    try:
        with np.load(place, allow_pickle=False) as found:
            names, nums, bits = found["fingerprint"].tolist(), found["num_test"], found["right"]
            hashes = zip(found["test_ids"].tolist(), found["val_ids"].tolist(), strict=True)
        ends = np.cumsum(-(-nums // 8))
        if len(names) != len(nums) or (len(ends) and ends[-1] != len(bits)):
            raise ValueError("its numbers of images do not fit its bits")
    except (OSError, ValueError, KeyError) as error:
        raise _no_file(place, str(error)) from error
    runs = {}
    parts = np.split(bits, ends[:-1])
    for name, (test, val), part, num in zip(names, hashes, parts, nums, strict=True):
        right = np.unpackbits(part, count=int(num)).astype(bool)
        of_val = Predictions((val,), np.empty(0, bool))
        runs[name] = KeptRun(file, name, {"test": Predictions((test,), right), "val": of_val})
    return runs


def _pairs(values: Mapping[str, str]) -> str:
    return SEVERAL.join(f"{name}={value}" for name, value in values.items())


def _hash(run: TrainingRun, split: str) -> str:
    """Return a hash of the ids of a split's images, in their order."""
    ids = run.predictions[split].ids if split in run.predictions else ()
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]


def _no_file(file: Path, reason: str) -> UserError:
    return UserError(
        f"from: must be the files that sip.tables output=... writes, got {file} ({reason}); name a "
        f"table's ..{RUNS}"
    )
