"""Rows of a forest plot: paired differences to the control, from runs or from a table's CSV."""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig

from sip.config.words import for_shell
from sip.core.errors import UserError, ValueRefusedError
from sip.records.read import TrainingRun
from sip.records.varied import plain
from sip.tables.auto import resolved
from sip.tables.bases import compared_pairs, confounded
from sip.tables.cells import cells, comparisons
from sip.tables.layout import (
    AUTO,
    NONE,
    SEPARATOR,
    TableLayout,
    checked,
    completed,
    names,
    where_of,
)
from sip.tables.query import require_keys, require_metric

Width = Literal["slide", "column"]
NUMBERS = ("difference", "n", "p")
NEEDED = ("block", "row", "column", "metric", "mean", "against", "difference",
          "difference_half_width", "pairs", "p_holm")  # fmt: skip


@dataclass(frozen=True)
class Forest:
    """What a forest plot shows.

    Attributes:
        title: In one line; None to name the control, "" for none.
        group: Key; a group of rows for each value. None: one group.
        rows: Keys; a row for each combination of values. ("auto",): those in which runs differ.
        value: Metric.
        control: Row that all others are compared with; "auto": none if it is there, else the
            first.
        row_values: Rows to show; None for all. p-values stay corrected for all.
        width: "slide": groups side by side; "column": below each other, as wide as one column of
            a paper.
        numbers: Columns of text, any of "difference", "n" and "p".
        highlight: Part of a row's name that gives it the second colour; None for no such part.
        csv: A table's CSV to read in place of runs.
        claims: Whether the rows are the claims of the CSV's family.
        x_label: None for the metric in words.
        labels: Value -> name in the figure.
        where: Key -> value: only such runs.
    """

    title: str | None
    group: str | None
    rows: tuple[str, ...]
    value: str
    control: str
    row_values: tuple[str, ...] | None
    width: Width
    numbers: tuple[str, ...]
    highlight: str | None
    csv: str | None
    claims: bool
    x_label: str | None
    labels: Mapping[str, str] = field(default_factory=dict)
    where: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.claims and self.csv is None:
            raise UserError(
                "figure.claims: must be false without figure.csv, got true; name the CSV of a "
                "table with a family, such as table=confirmatory"
            )
        if wrong := [name for name in self.numbers if name not in NUMBERS]:
            raise UserError(f"figure.numbers: must be any of {', '.join(NUMBERS)}, got {wrong[0]}")

    @classmethod
    def of(cls, node: DictConfig) -> "Forest":
        """Return the forest plot that a configuration's `figure` describes."""
        values = completed(node, "figure", "forest")
        values.pop("kind")
        for name in ("rows", "numbers", "row_values"):
            values[name] = names(values[name])
        values["numbers"] = values["numbers"] or ()
        labels = values["labels"] or {}
        if isinstance(labels, dict):
            values["labels"] = {str(key): str(text) for key, text in labels.items()}
        values["where"] = where_of(values["where"], "figure")
        values["control"] = plain(values["control"])  # a number, if rows are numbers
        return checked(cls, values, "figure")

    def words(self, names: str) -> str:
        """Return several values, joined by commas, as the figure names them."""
        return SEPARATOR.join(map(self.label, names.split(SEPARATOR)))

    def label(self, name: str) -> str:
        """Return the name of a value in the figure; of a combination that of its parts."""
        if name in self.labels:
            return self.labels[name]
        for cut in range(len(name) - 1, 0, -1):
            if name[cut] == "_" and name[:cut] in self.labels:
                return f"{self.labels[name[:cut]]} + {self.label(name[cut + 1 :])}"
        return name.replace("_", " ")


@dataclass(frozen=True)
class ForestRow:
    """A paired difference.

    Attributes:
        name: Name of its row in the table.
        label: In the figure.
        mean: In points, or in the metric's unit.
        half_width: Half of its Student-t 95 % interval; None for fewer than 3 pairs.
        num_pairs: Seeds that both have.
        holm_p: p-value of the paired t-test after Holm; None for fewer than 3 pairs.
    """

    name: str
    label: str
    mean: float
    half_width: float | None
    num_pairs: int
    holm_p: float | None


@dataclass(frozen=True)
class ForestGroup:
    """Rows that are compared with one control.

    Attributes:
        name: Value of the group's key; "" for a single group.
        control, control_mean: Row that the others are compared with, and its mean; "" for claims,
            each of which has its own.
        rows: The others, as far as they are shown.
        num_compared: All others, which p-values are corrected for; of a table with a family its
            claims.
        explores: Whether differences that are no claim of a family are among the rows.
        confounded: A line if base transforms differ from the control's.
    """

    name: str
    control: str
    control_mean: float
    rows: Sequence[ForestRow]
    num_compared: int
    explores: bool = False
    confounded: tuple[str, ...] = ()


def forest_groups(
    runs: Iterable[TrainingRun], forest: Forest, experiments: Sequence[str] = ()
) -> list[ForestGroup]:
    """Compare runs and return the groups, each with its rows in the order of the figure.

    Rows name further keys in which runs differ.

    Raises:
        UserError: A key or metric is in no run, or there is nothing to compare.
    """
    runs = list(runs)
    layout = TableLayout("", forest.group, forest.rows, None, forest.value, control=forest.control)
    require_keys(runs, layout.keys)
    require_metric(runs, forest.value)
    layout = resolved(layout, runs, experiments)
    found = cells(runs, layout)
    groups: dict[str, list[ForestRow]] = {}
    controls: dict[str, tuple[str, float]] = {}
    every = comparisons(found, layout)
    _require_one_control((compared.block, compared.against) for compared in every)
    for compared in every:
        name, mean = compared.row, compared.difference.estimate
        label = forest.words(layout.row_name(name))
        row = ForestRow(name, label, mean.mean, mean.half_width, mean.num, compared.holm_p)
        groups.setdefault(compared.block, []).append(row)
        control = found[compared.block, compared.against, compared.column]
        label = forest.words(layout.row_name(compared.against))
        controls[compared.block] = label, control.estimate.mean
    pairs = compared_pairs(every, ())
    return [
        replace(
            group,
            confounded=tuple(confounded([p for p in pairs if p[0] == group.name], found, layout)),
        )
        for group in _ordered(groups, controls, forest)
    ]


def read_groups(file: Path, forest: Forest) -> list[ForestGroup]:
    """Read the comparisons of a table's CSV, as `sip.tables output=...` writes it.

    Raises:
        UserError: The file is missing or no such CSV, or holds no comparison or another metric.
    """
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            lines = list(csv.DictReader(stream))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"figure.csv: must be a table's CSV, got {file} ({error})") from error
    if missing := sorted(set(NEEDED) - {*(lines[0] if lines else ())}):
        raise UserError(
            f"figure.csv: must have the columns of a table's CSV, got {file} without "
            f"{', '.join(missing)}; write one with sip.tables output=PATH"
        )
    if (metric := lines[0]["metric"]) != forest.value:
        fix = f"set figure.value={metric}"
        raise ValueRefusedError("figure.value", f"the metric of {file}", forest.value, fix)
    if forest.claims:
        return _claims(lines, file)
    groups: dict[str, list[ForestRow]] = {}
    controls: dict[str, tuple[str, float]] = {}
    against: list[tuple[str, str]] = []
    blocks: dict[str, str] = {}
    claims = [line for line in lines if line.get("claim")]
    tested = {_compared(line): line for line in claims}
    lines = [line for line in lines if not line.get("claim")]
    means = {(line["block"], line["column"], line["row"]): float(line["mean"]) for line in lines}
    words = {line["row"]: forest.words(line.get("name") or line["row"]) for line in lines}
    for line in lines:
        if not line["against"] or forest.control not in (AUTO, line["against"]):
            continue
        name = ", ".join(filter(None, (line["block"], line["column"])))
        row = _row(tested.get(_compared(line), line), line["row"], words[line["row"]])
        groups.setdefault(name, []).append(row)
        blocks[name], control = line["block"], line["against"]
        controls[name] = words[control], means[line["block"], line["column"], control]
        against.append((name, control))
    _require_one_control(against)
    ordered = _ordered(groups, controls, forest)
    if not claims:
        return ordered
    num = Counter(line["block"] for line in claims)
    return [
        replace(group, num_compared=num[blocks[group.name]], explores=True) for group in ordered
    ]


def _compared(line: Mapping[str, str]) -> tuple[str, ...]:
    """Return which rows a line of a table's CSV compares."""
    return tuple(line[name] for name in ("block", "column", "row", "against"))


def _require_one_control(against: Iterable[tuple[str, str]]) -> None:
    """Check that the rows of a group are compared with one row: the figure names one for all.

    Args:
        against: Group and control of each comparison.

    Raises:
        UserError: They are not.
    """
    controls: dict[str, str] = {}
    for group, control in against:
        if (known := controls.setdefault(group, control)) != control:
            raise UserError(
                f"figure.control: must be the one row that others are compared with, got {known} "
                f"and {control}; set it to one of them: {for_shell(f'figure.control={known}')}"
            )


def _row(line: Mapping[str, str], name: str, label: str) -> ForestRow:
    half, p_value = line["difference_half_width"], line["p_holm"]
    return ForestRow(
        name,
        label,
        float(line["difference"]),
        float(half) if half else None,
        int(float(line["pairs"])),
        float(p_value) if p_value else None,
    )


def _claims(lines: Iterable[Mapping[str, str]], file: Path) -> list[ForestGroup]:
    """Return the claims of a table's CSV, in its order.

    Raises:
        UserError: It has none, or none was computed.
    """
    groups: dict[tuple[str, str], list[ForestRow]] = {}
    nums = Counter[str]()  # of a block; claims that were not computed count in Holm's correction
    for line in lines:
        if claim := line.get("claim"):
            nums[line["block"]] += 1
            if line["difference"]:
                rows = groups.setdefault((line["block"], line["column"]), [])
                rows.append(_row(line, claim, claim))
    if not nums:
        raise UserError(
            f"figure.claims: must be false for a table without a family of claims, got {file}; "
            "write one with table=confirmatory"
        )
    if not groups:
        raise UserError(
            f"figure.claims: must have a claim whose arms were run, got none in {file}; its table "
            "lists the commands of what is missing"
        )
    return [
        ForestGroup(", ".join(filter(None, place)), "", 0.0, rows, nums[place[0]])
        for place, rows in groups.items()
    ]


def _ordered(
    groups: Mapping[str, Sequence[ForestRow]],
    controls: Mapping[str, tuple[str, float]],
    forest: Forest,
) -> list[ForestGroup]:
    """Return the groups with the rows that are shown, best on average over the groups first."""
    every = {row.name for rows in groups.values() for row in rows}
    shown = every if forest.row_values is None else set(forest.row_values)
    if unknown := sorted(shown - every - {forest.control, NONE}):
        raise UserError(
            f"figure.row_values: must be any of {', '.join(sorted(every))}, got {unknown[0]}"
        )
    means: dict[str, list[float]] = {}
    for rows in groups.values():
        for row in rows:
            means.setdefault(row.name, []).append(row.mean)

    def rank(row: ForestRow) -> tuple[float, str]:
        return -sum(means[row.name]) / len(means[row.name]), row.name

    result = []
    for name in sorted(groups, key=lambda name: _place(name, forest)):
        rows = sorted((row for row in groups[name] if row.name in shown), key=rank)
        if rows:
            result.append(ForestGroup(name, *controls[name], rows, len(groups[name])))
    if not result:
        raise UserError(
            "figure=forest: must have two rows to compare, got none; name other keys with "
            "figure.rows= or another row with figure.control="
        )
    return result


def _place(group: str, forest: Forest) -> tuple[int, str]:
    """Sort groups as `labels` lists them, those without a label last."""
    order = list(forest.labels)
    return order.index(group) if group in order else len(order), group
