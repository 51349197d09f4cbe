"""A table's values per seed, and its predictions: all that is needed to compute it again.

    <output>_runs.csv          a row for each run: place in the table, settings, values, machine
    <output>_predictions.npz   for each run whether each test image was right, a bit an image

Both are small enough to be committed next to the table.
"""

import csv
import hashlib
import io
import shlex
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from sip.core.errors import UserError, ValueRefusedError
from sip.core.files import write_atomically
from sip.core.text import command_without_paths, join_first
from sip.records.read import Predictions, TrainingRun
from sip.records.varied import plain
from sip.tables.kept import EMPTY, SEVERAL, KeptRun, RunRow
from sip.tables.layout import TableLayout
from sip.tables.stacks import stack_of

RUNS, PREDICTIONS = "_runs.csv", "_predictions.npz"
MAX_BYTES = 2**28  # of a file
OLD_COLUMNS = {"block", "row", "column", "seed", "value", "fingerprint"}  # in every version
REWRITE = "python -m sip.tables runs=RUNS"
VAL = "val/top1"  # the metric in the column `val`, unless the layout's keys name another one
OPTIONAL = ("val", "test", "threads", "shots", "fraction")  # empty if there is none


def run_rows(
    runs: Sequence[TrainingRun],
    layout: TableLayout,
    experiments: Sequence[str],
    unlike: Mapping[Path, Mapping[str, str]],
) -> list[RunRow]:
    """Return the rows of the runs of a table, candidates of a choice and diverged runs too.

    Args:
        runs: Runs that have the table's metric.
        layout: Layout of the table, with what was chosen from the runs.
        experiments: Those that the table is of; a run's rows list them first.
        unlike: Folder of a run -> entries of its recipe that should be those of other runs.
    """
    rows = [
        replace(_row(run, layout, experiments), unlike=_pairs(unlike.get(run.folder, {})))
        for run in runs
    ]
    return sorted(rows, key=lambda r: (r.block, r.row, r.column, r.setting, r.seed))


def _row(run: TrainingRun, layout: TableLayout, experiments: Sequence[str]) -> RunRow:
    summary, machine = run.summary, run.summary.machine
    row, column, value = layout.row_of(run), layout.column_of(run), run.metric(layout.value)
    assert value is not None
    asked = [name for name in summary.experiments if name]
    chosen = {key: plain(run.value(key)) for key in layout.select if run.value(key) is not None}
    also = {name: run.metric(name) for name in layout.also}
    stack = stack_of(run) if layout.stack else None
    seed, fraction = run.value("prompts.seed"), run.value("dataset.fraction")
    return RunRow(
        block=layout.block_of(run),
        row=row,
        row_name=layout.row_name(row),
        column=column,
        column_name=layout.column_name(column),
        setting=_pairs(chosen),
        seed=summary.seed,
        metric=layout.value,
        value=value,
        val=run.metric(layout.select_by),
        test=run.metric("test/top1"),
        best_step=summary.best_step,
        last_step=summary.steps,
        num_real=summary.num_real,
        num_generated=summary.num_generated,
        unet_evaluations=summary.unet_evaluations,
        seconds_train=summary.seconds("classifier"),
        seconds_generate=summary.generation_seconds,
        also=_pairs({name: repr(number) for name, number in also.items() if number is not None}),
        shots=summary.shots,
        fraction=float(fraction) if isinstance(fraction, int | float) else None,
        generator_seed="" if seed is None else plain(seed),
        fingerprint=summary.fingerprint,
        run=run.folder.name,
        experiments=SEVERAL.join(sorted(asked, key=lambda name: name not in experiments)),
        commit=summary.commit or "",
        choices=_pairs({k: v for k, v in summary.choices.items() if k.startswith("augmentation")}),
        overrides=command_without_paths(shlex.join(summary.overrides)),
        stack=stack.text if stack else "",
        processor=machine.processor if machine else "",
        instructions=machine.instructions if machine else "",
        limits=_pairs(machine.limits) if machine else "",
        threads=machine.threads if machine else None,
        accelerator=(machine.accelerator or "") if machine else "",
        libraries=_pairs(summary.versions),
        keys=_pairs(
            {
                "block": layout.block or "",
                "rows": ", ".join(layout.rows),
                "columns": layout.columns or "",
                **({} if layout.select_by == VAL else {"val": layout.select_by}),
            }
        ),
    )


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
    write_atomically(file, stream.getvalue())
    return file


def read_runs(file: Path, layout: TableLayout) -> tuple[list[TrainingRun], TableLayout]:
    """Return a table's runs from its two files, and the layout with the rows of the file.

    Args:
        file: `<path>_runs.csv`; the predictions next to it are read if they are there.
        layout: Layout of the table; block, rows and columns are the file's, and what validation
            chooses too if it states nothing.

    Raises:
        UserError: A file is missing or no such file, has two runs of one cell and seed, or holds
            another metric, or another one that chooses.
    """
    rows = read_rows(file)
    if (metric := rows[0].metric) != layout.value:
        fix = f"set table.value={metric}"
        raise ValueRefusedError("table.value", f"the metric of {file}", layout.value, fix)
    if (chooses := rows[0].layout_keys.get("val", VAL)) != layout.select_by:
        fix = f"set table.select_by={chooses}"
        raise ValueRefusedError("table.select_by", f"that of {file}", layout.select_by, fix)
    predictions = _read_predictions(file)
    places: dict[tuple[str, str, str, str, int], RunRow] = {}
    for row in rows:
        place = row.block, row.row, row.column, row.setting, row.seed
        if places.setdefault(place, row) is not row:
            raise _no_file(file, f"two runs of {row.row_name}, seed {row.seed}")
    rows.sort(key=lambda row: row.run)
    select = layout.select or tuple(dict.fromkeys(key for row in rows for key in row.settings))
    keys = rows[0].layout_keys
    layout = replace(
        layout,
        block=keys["block"] or None,
        rows=tuple(keys["rows"].split(", ")),
        columns=keys["columns"] or None,
        select=select,
        row_words={row.row: row.row_name for row in rows if row.row_name != row.row},
        column_words={r.column: r.column_name for r in rows if r.column_name != r.column},
    )
    runs: list[TrainingRun] = [
        KeptRun.of(row, file, layout.select_by, predictions.get(row.fingerprint, {}))
        for row in rows
    ]
    return runs, layout


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
        stated = [
            {key: None if key in OPTIONAL and not text else text for key, text in line.items()}
            for line in lines
        ]
        rows: list[RunRow] = TypeAdapter(list[RunRow]).validate_python(stated)
        if not rows:
            raise ValueError("it has no run")
        if any({*row.layout_keys} - {"val"} != {"block", "rows", "columns"} for row in rows):
            raise ValueError("keys: must name block, rows and columns")
    except FileNotFoundError as error:
        there = sorted(path.name for path in file.parent.glob(f"*{RUNS}"))
        fix = f"there is {join_first(there)}" if there else f"name a table's ..{RUNS}"
        raise UserError(f"from: no such file {file}; {fix}") from error
    except ValidationError as error:
        absent = [field.name for field in fields(RunRow) if field.name not in lines[0]]
        if lines[0].keys() > OLD_COLUMNS and absent:
            raise UserError(
                f"from: {file} lacks the columns {join_first(absent)}: an older version wrote it; "
                f"write it again from the runs: {REWRITE} output={file.name.removesuffix(RUNS)}"
            ) from error
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc'][1:]))}: {first['msg'].lower()}"
        raise _no_file(file, reason) from error
    except (OSError, ValueError, csv.Error) as error:
        raise _no_file(file, str(error)) from error
    return rows


def _read_predictions(file: Path) -> dict[str, dict[str, Predictions]]:
    """Return fingerprint -> split -> predictions; empty if there is no file of predictions."""
    place = file.with_name(file.name.removesuffix(RUNS) + PREDICTIONS)
    if not place.is_file():
        return {}
    try:
        with place.open("rb") as stream, np.load(stream, allow_pickle=False) as found:
            names, nums, bits = found["fingerprint"].tolist(), found["num_test"], found["right"]
            hashes = zip(found["test_ids"].tolist(), found["val_ids"].tolist(), strict=True)
        ends = np.cumsum(-(-nums // 8))
        if len(names) != len(nums) or (len(ends) and ends[-1] != len(bits)):
            raise ValueError("its numbers of images do not fit its bits")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _no_file(place, str(error)) from error
    runs = {}
    parts = np.split(bits, ends[:-1])
    for name, (test, val), part, num in zip(names, hashes, parts, nums, strict=True):
        right = np.unpackbits(part, count=int(num)).astype(bool)
        runs[name] = {"test": Predictions((test,), right)}
        if val:
            runs[name]["val"] = Predictions((val,), EMPTY)
    return runs


def _pairs(values: Mapping[str, str]) -> str:
    return SEVERAL.join(f"{name}={value}" for name, value in values.items())


def _hash(run: TrainingRun, split: str) -> str:
    """Return a hash of the ids of a split's images, in their order; "" if they are not stored."""
    if split not in run.predictions:
        return ""
    return hashlib.sha256("\n".join(run.predictions[split].ids).encode()).hexdigest()[:16]


def _no_file(file: Path, reason: str) -> UserError:
    return UserError(
        f"from: must be the files that sip.tables output=... writes, got {file} ({reason}); name a "
        f"table's ..{RUNS}"
    )
