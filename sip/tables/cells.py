"""Runs in, cells out: mean, interval and n over seeds, and paired comparisons with the control."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sip.config.words import with_value
from sip.core.errors import UserError
from sip.core.text import join_first
from sip.records.read import TrainingRun
from sip.records.varied import plain
from sip.tables.layout import MEAN, TableLayout
from sip.tables.statistics import (
    LEVEL,
    Difference,
    Estimate,
    OverImages,
    estimate,
    holm,
    over_images,
    paired_difference,
)

IMAGE_METRICS = {"test/top1": "test", "val/top1": "val"}  # what predictions hold image by image
Place = tuple[str, str, str]  # block, row, column
# Options of a data set that its seed is for, with the values that choose nothing.
SUBSET = {"shots": (None,), "fraction": (None, 1), "imbalance": (None, 1), "label_noise": (None, 0)}


class UnlikeError(UserError):
    """Two runs are no pair, since they are of different images."""


@dataclass(frozen=True)
class TableCell:
    """One row in one column.

    Attributes:
        runs: Seed -> run; empty for a mean over columns.
        values: Seed -> the table's metric.
        validation: Seed -> the metric that chooses.
    """

    block: str
    row: str
    column: str
    runs: Mapping[int, TrainingRun]
    values: Mapping[int, float]
    validation: Mapping[int, float] = field(default_factory=dict)

    @property
    def estimate(self) -> Estimate:
        """Mean and interval over the seeds."""
        return estimate([self.values[seed] for seed in sorted(self.values)])

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, in order."""
        return tuple(sorted(self.values))


@dataclass(frozen=True)
class Comparison:
    """A row against another one in the same column.

    Attributes:
        difference: Over the seeds both have.
        holm_p: p-value of its t-test, corrected for all comparisons of the block's column; None for
            fewer than 3 pairs, and if the table has a family of claims.
        images: Over the test images; None if predictions are missing, or for means.
        checked: Whether the predictions show that both were tested on the same images.
    """

    block: str
    row: str
    column: str
    against: str
    difference: Difference
    holm_p: float | None
    images: OverImages | None
    checked: bool

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0 and the corrected p-value is below 5 %."""
        significant = self.holm_p is not None and self.holm_p < 1 - LEVEL
        return self.difference.estimate.excludes_zero and significant


def cells(runs: Iterable[TrainingRun], layout: TableLayout) -> dict[Place, TableCell]:
    """Group runs into cells, means over columns included.

    Raises:
        UserError: Two runs are of one cell and seed, but were not made alike.
    """
    groups: dict[Place, dict[int, TrainingRun]] = defaultdict(dict)
    for run in runs:
        place = layout.block_of(run), layout.row_of(run), layout.column_of(run)
        if not layout.has_place(run):
            continue
        value = run.metric(layout.value)
        if value is None or not math.isfinite(value):
            continue
        other = groups[place].setdefault(run.summary.seed, run)
        if other is not run:
            raise UserError(_ambiguous(place, other, run))
    result = {place: _cell(place, group, layout) for place, group in groups.items()}
    if layout.mean and layout.columns:
        result |= means(result, layout)
    return result


def _cell(place: Place, runs: Mapping[int, TrainingRun], layout: TableLayout) -> TableCell:
    def of(metric: str) -> dict[int, float]:
        values = {seed: run.metric(metric) for seed, run in runs.items()}
        return {seed: value for seed, value in values.items() if value is not None}

    return TableCell(*place, runs, of(layout.value), of(layout.select_by))


def means(found: Mapping[Place, TableCell], layout: TableLayout) -> dict[Place, TableCell]:
    """Return the means over two or more columns, seed by seed; none if one is missing."""
    result = {}
    for block in dict.fromkeys(block for block, _, _ in found):
        here = {place: cell for place, cell in found.items() if place[0] == block}
        columns = layout.column_order(column for _, _, column in here)
        if len(columns) < 2:
            continue
        for row in dict.fromkeys(row for _, row, _ in here):
            line = [here.get((block, row, column)) for column in columns]
            whole = [cell for cell in line if cell is not None]
            if len(whole) < len(line):
                continue
            values = _mean([cell.values for cell in whole])
            if values:
                chosen = _mean([cell.validation for cell in whole])
                result[block, row, MEAN] = TableCell(block, row, MEAN, {}, values, chosen)
    return result


def _mean(values: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Return the mean of each seed that all have."""
    seeds = set.intersection(*map(set, values))
    return {seed: sum(one[seed] for one in values) / len(values) for seed in seeds}


def comparisons(found: Mapping[Place, TableCell], layout: TableLayout) -> list[Comparison]:
    """Compare every cell with its controls.

    Holm's correction is within each block's column; there is none if the layout has a family of
    claims, since all else explores then.
    """
    result = []
    families: dict[tuple[str, str], list[Comparison]] = defaultdict(list)
    for (block, row, column), cell in found.items():
        rows = [r for b, r, c in found if (b, c) == (block, column)]
        for control in layout.controls(row, rows, {r for b, r, _ in found if b == block}):
            other = found[block, control, column]
            if compared := compare(cell, other, layout.value):
                families[block, column].append(compared)
    if layout.family is not None:
        return [replace(c, holm_p=None) for family in families.values() for c in family]
    for family in families.values():
        tested = [c for c in family if c.difference.p_value is not None]
        adjusted = holm([c.difference.p_value or 0.0 for c in tested])
        result += [replace(c, holm_p=p) for c, p in zip(tested, adjusted, strict=True)]
        result += [c for c in family if c.difference.p_value is None]
    return result


def compare(cell: TableCell, control: TableCell, metric: str) -> Comparison | None:
    """Compare two cells of one column over the seeds both have; None if they share none.

    Raises:
        UserError: Their predictions are of other images.
    """
    shared = sorted(cell.values.keys() & control.values.keys())
    if not shared:
        return None
    difference = paired_difference(
        [cell.values[seed] for seed in shared], [control.values[seed] for seed in shared]
    )
    pairs = {s: (cell.runs[s], control.runs[s]) for s in shared if s in cell.runs}
    split = IMAGE_METRICS.get(metric)
    checked = bool(pairs) and all(same_images(*pair) for pair in pairs.values())
    images = _over_images(pairs, split) if checked and split else None
    return Comparison(
        cell.block,
        cell.row,
        cell.column,
        control.row,
        difference,
        holm_p=difference.p_value,
        images=images,
        checked=checked,
    )


def same_images(run: TrainingRun, control: TrainingRun) -> bool:
    """Return whether two runs predicted the same images; False if that is not stored.

    Raises:
        UnlikeError: They did not, or were trained on different subsets.
        UserError: A file of theirs is damaged.
    """
    subsets = [_subset(one) for one in (run, control)]
    if subsets[0] != subsets[1] and None not in subsets:
        raise UnlikeError(
            f"tables: {run.folder} and {control.folder} must be of the same training images, got "
            f"dataset.seed {subsets[0]} and {subsets[1]}; compare runs of one subset (table.where)"
        )
    for split in ("val", "test"):
        mine, theirs = run.predictions.get(split), control.predictions.get(split)
        if mine is None or theirs is None:
            return False
        if mine.ids != theirs.ids:
            raise UnlikeError(
                f"tables: {run.folder} and {control.folder} must have the same {split} images, "
                f"got {len(set(mine.ids) ^ set(theirs.ids))} that only one of them has; compare "
                f"runs of one data set{_how(run, control)}"
            )
    return True


def _how(run: TrainingRun, control: TrainingRun) -> str:
    """Return the command for runs of the control's data set, by the first key that differs."""
    settings = _differing(control.config.get("dataset"), run.config.get("dataset"), "dataset.")
    for key in ("dataset", *settings):
        value = control.value(key)
        if value is not None and plain(value) != plain(run.value(key)):
            runs = control.folder.parent
            keys = {"runs": "" if runs in (Path(), Path("runs")) else str(runs)}
            keys[f"table.where.{key}"] = plain(value)
            words = [with_value(f"{key}={{}}", text) for key, text in keys.items() if text]
            return f": python -m sip.tables {' '.join(words)}"
    return " (table.where)"


def _subset(run: TrainingRun) -> Any:
    """Return what chose a run's training images; None for all of them, or if it is not stored."""
    is_part = any(run.value(f"dataset.{key}") not in neutral for key, neutral in SUBSET.items())
    return run.value("dataset.seed") if is_part else None


def _over_images(
    pairs: Mapping[int, tuple[TrainingRun, TrainingRun]], split: str
) -> OverImages | None:
    """Compare image by image, over those seeds that have the first seed's images."""
    treated: dict[int, np.ndarray] = {}
    control: dict[int, np.ndarray] = {}
    ids: Sequence[str] | None = None
    for seed, (run, other) in pairs.items():
        mine, theirs = run.predictions.get(split), other.predictions.get(split)
        assert mine is not None and theirs is not None
        ids = mine.ids if ids is None else ids
        if mine.ids == ids and len(mine.right):
            treated[seed], control[seed] = mine.right, theirs.right
    return over_images(treated, control) if treated else None


def _ambiguous(place: Place, run: TrainingRun, other: TrainingRun) -> str:
    """Return what to do about two runs of one cell and seed; their settings are equal."""
    name = " × ".join(part for part in place if part)
    what = join_first([*_differing(run.summary.recipe, other.summary.recipe)]) or "nothing"
    return (
        f"tables: two runs of {name}, seed {run.summary.seed}, have equal settings and differ in "
        f"{what} of their recipes: {run.folder} and {other.folder}; delete one of these folders"
    )


def _differing(values: Any, others: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(values, dict) and isinstance(others, dict):
        for key in {**values, **others}:
            yield from _differing(values.get(key), others.get(key), f"{prefix}{key}.")
    elif values != others:
        yield prefix.removesuffix(".")
