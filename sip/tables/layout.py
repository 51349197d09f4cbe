"""What a table shows: which keys are its blocks, rows and columns, which metric its value."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from sip.config.words import no_such
from sip.core.errors import UserError, ValueRefusedError
from sip.core.files import read_yaml
from sip.core.paths import conf_folder
from sip.jobs.objectives import LOWER_IS_BETTER
from sip.records.read import TrainingRun
from sip.records.varied import plain

AUTO = "auto"  # as rows, columns or control: chosen from the runs
PARTS = "parts"  # as control: the arms that a combination is made of
MEAN = "mean"  # the column of means
NONE = "none"  # the arm without augmentation
T = TypeVar("T")
SEPARATOR = ", "  # between the values in a row's name


@dataclass(frozen=True)
class TableClaim:
    """A comparison that is fixed before the runs; see `sip.tables.claims`.

    Attributes:
        claim: In words.
        arm, against: Rows: one and one, one and several to choose from, or as many and as many.
    """

    claim: str
    arm: tuple[str, ...]
    against: tuple[str, ...]

    @property
    def is_choice(self) -> bool:
        """Whether `against` is the best of several on validation."""
        return len(self.arm) == 1 < len(self.against)

    @property
    def is_pooled(self) -> bool:
        """Whether it is one of several arms, each against one row."""
        return len(self.arm) > 1

    @classmethod
    def of(cls, node: Any) -> "TableClaim":
        """Return the claim of an item of `table.family`.

        Raises:
            UserError: It is not one.
        """
        stated = node if isinstance(node, dict) else {}
        if set(stated) == {"claim", "arm", "against"}:
            arm, against = names(stated["arm"]) or (), names(stated["against"]) or ()
            if arm and against and (len(arm) == 1 or len(arm) == len(against)):
                return cls(str(stated["claim"]), arm, against)
        raise UserError(
            "table.family: each claim must have the keys claim, arm (a row, or several that are "
            f"pooled) and against (a row, several to choose from, or one for each arm), got {node}"
        )


@dataclass(frozen=True)
class TableLayout:
    """A table's shape.

    Attributes:
        title: In one line.
        block: Key; a table of its own for each value. None: one table.
        rows: Keys; a row for each combination of values, written "a, b". ("auto",): those in which
            the runs differ.
        columns: Key; a column for each value. None: one column. "auto": chosen from the runs.
        value: Metric that is compared.
        also: Metrics shown next to it as plain means, if there is one column.
        control: Row that the other rows are compared with; "auto": none, or the first row; "parts":
            those whose names, joined by "_", are the row's; None: nothing is compared.
        mean: Whether a column holds the mean over the columns.
        row_values, column_values: What there should be, in this order; None: what is found.
        where: Key -> value: only such runs.
        select: Keys whose values are chosen on validation, for each cell by itself.
        select_by: The metric, of the validation part, that chooses: settings, and the best of
            several baselines. More is better.
        arm, baselines: Row that is set against the best of these rows; None, ().
        stack: Whether a line says what training the models of the generation took, if known.
        family: Claims that are tested, with Holm's correction over them; all else explores and has
            no p-value. None: all comparisons with the control are tested.
        validation: Whether `select_by` is shown next to the value.
        equivalent: Whether gains are given as shots of the row without augmentation; the columns
            are numbers of shots.
        quoted: Block -> the paper's gain of `arm` over its best baseline, in points.
        row_words, column_words: Row or column -> its settings in words (`sip.records.varied`).
    """

    title: str
    block: str | None
    rows: tuple[str, ...]
    columns: str | None
    value: str
    also: tuple[str, ...] = ()
    control: str | None = None
    mean: bool = False
    row_values: tuple[str, ...] | None = None
    column_values: tuple[str, ...] | None = None
    where: Mapping[str, Any] = field(default_factory=dict)
    select: tuple[str, ...] = ()
    select_by: str = "val/top1"
    arm: str | None = None
    baselines: tuple[str, ...] = ()
    quoted: Mapping[str, float] = field(default_factory=dict)
    stack: bool = False
    row_words: Mapping[str, str] = field(default_factory=dict)
    column_words: Mapping[str, str] = field(default_factory=dict)
    family: tuple[TableClaim, ...] | None = None
    validation: bool = False
    equivalent: bool = False

    def __post_init__(self) -> None:
        if not self.rows:
            raise UserError("table.rows: must be a key or a list of keys, got none")
        if not self.select_by.startswith("val/") or self.select_by in LOWER_IS_BETTER:
            raise UserError(
                "table.select_by: must be a metric of the validation part of which more is better, "
                f"such as val/top1, got {self.select_by}; nothing is chosen on test"
            )
        if self.equivalent and self.value.replace("test/", "val/") in LOWER_IS_BETTER:
            raise UserError(
                "table.value: must be a metric of which more is better with table.equivalent=true, "
                f"got {self.value}; set table.equivalent=false"
            )

    @classmethod
    def of(cls, node: DictConfig) -> "TableLayout":
        """Return the layout that a configuration's `table` describes.

        Raises:
            UserError: It has a key that no table has, or a value that is none.
        """
        values = completed(node, "table", "arms")
        for name in ("rows", "also", "select", "baselines", "row_values", "column_values"):
            values[name] = names(values[name])
        for name in ("rows", "also", "select", "baselines"):
            values[name] = values[name] or ()
        values["where"] = where_of(values["where"], "table")
        values["quoted"] = values["quoted"] or {}
        if isinstance(values["family"], list):
            values["family"] = tuple(map(TableClaim.of, values["family"]))
        if values["control"] is not None:
            values["control"] = plain(values["control"])  # a number, if rows are numbers
        return checked(cls, values, "table")

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the keys that make a cell, as far as they are stated."""
        stated = (self.block, *self.rows, self.columns)
        return tuple(key for key in stated if key not in (None, AUTO))

    def row_of(self, run: TrainingRun) -> str:
        """Return the values of a run's row, as typed, without those at its end that are "-"."""
        values = [plain(run.value(key)) for key in self.rows]
        while len(values) > 1 and values[-1] == "-":
            values.pop()
        return SEPARATOR.join(values)

    def column_of(self, run: TrainingRun) -> str:
        """Return the name of a run's column; "" where there is one."""
        return plain(run.value(self.columns)) if self.columns else ""

    def block_of(self, run: TrainingRun) -> str:
        """Return the name of a run's block; "" where there is one table."""
        return plain(run.value(self.block)) if self.block else ""

    def row_name(self, row: str) -> str:
        """Return the name of a row in words."""
        return self.row_words.get(row, row)

    def column_name(self, column: str) -> str:
        """Return the name of a column in words."""
        return self.column_words.get(column, column)

    def place_name(self, block: str, row: str, column: str) -> str:
        """Return the name of a cell in words."""
        parts = block, self.row_name(row), self.column_name(column)
        return " × ".join(part for part in parts if part)

    def has_place(self, run: TrainingRun) -> bool:
        """Return whether a run is of a stated row and column."""
        row, column = self.row_of(run), self.column_of(run)
        is_row = self.row_values is None or row in self.row_values
        return is_row and (self.column_values is None or column in self.column_values)

    def order(self, found: Iterable[str]) -> list[str]:
        """Return row names in the table's order: as stated, or the control, singles, combinations.

        Numbers are in their own order. Stated rows that were not found are in it.
        """
        there = set(found)
        if self.row_values is not None:
            return list(self.row_values)
        if all(is_number(name.split(SEPARATOR)[0]) for name in there):
            return sorted(there, key=_natural)
        singles = there - {name for name in there if parts(name, there)}

        def place(name: str) -> tuple[Any, ...]:
            is_none = name.split(SEPARATOR)[0] == NONE
            return name != self.control, not is_none, name not in singles, _natural(name)

        return sorted(there, key=place)

    def column_order(self, found: Iterable[str]) -> list[str]:
        """Return column names in the table's order, those that were stated and not found too."""
        if self.column_values is not None:
            return list(self.column_values)
        there = set(found)
        return sorted(there, key=_natural)

    def controls(self, row: str, rows: Iterable[str], block: Iterable[str]) -> list[str]:
        """Return the rows that a row is compared with.

        Args:
            row: Row of a column.
            rows: All rows of the column.
            block: All rows of the block's columns.
        """
        rows = list(rows)
        if self.control == PARTS:
            return parts(row, rows)
        control = self.control_of(block)
        return [control] if control in rows and control not in (None, row) else []

    def control_of(self, block: Iterable[str]) -> str | None:
        """Return the row that a block's others are compared with; None if there is none."""
        candidates = self.control_candidates(block)
        return candidates[0] if candidates else None

    def control_candidates(self, block: Iterable[str]) -> list[str]:
        """Return the rows that `control` can mean, the one that is taken first.

        It may be written as values or in words. Rows that name further keys than it does begin with
        it. "auto" means the row without augmentation; if there is none, any row.
        """
        if self.control in (None, PARTS):
            return []
        rows = self.order(block)
        wanted = NONE if self.control == AUTO else str(self.control)
        exact = [row for row in rows if wanted in (row, self.row_name(row))]
        longer = [row for row in rows if row.startswith(f"{wanted}{SEPARATOR}")]
        return exact or longer or (rows if self.control == AUTO else [])


def parts(row: str, rows: Iterable[str]) -> list[str]:
    """Return the two rows whose names joined by "_" are this row's; none if there are none."""
    known, words = set(rows), row.split("_")
    for cut in range(1, len(words)):
        pair = ["_".join(words[:cut]), "_".join(words[cut:])]
        if known.issuperset(pair):
            return pair
    return []


def completed(node: DictConfig, group: str, base: str) -> dict[str, Any]:
    """Return a table's or figure's values; keys that it leaves out are those of its base choice.

    A file of one's own states only what differs, whether it lists the base among its defaults or
    not.

    Raises:
        UserError: It has a key that the base has not.
    """
    defaults = read_yaml(conf_folder() / group / f"{base}.yaml")
    given: Any = OmegaConf.to_container(node, resolve=True)
    for key in given:
        if key not in defaults:
            raise UserError(f"{group}.{key}: {no_such('key', key, defaults, show_all=True)}")
    return defaults | given


def checked(kind: type[T], values: Mapping[str, Any], group: str) -> T:
    """Return a table or figure of these values.

    Raises:
        UserError: One is of another type than the dataclass declares.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = str(first["loc"][0])
        rule = first["msg"].removeprefix("Input should be ").replace("'", "")
        rule = rule.replace("valid tuple", "list").replace("valid dictionary", "mapping")
        raise ValueRefusedError(f"{group}.{key}", rule, values[key]) from None


def where_of(value: Any, group: str) -> dict[str, Any]:
    """Return dotted key -> value of `where`.

    Raises:
        UserError: It is no mapping.
    """
    if not isinstance(value or {}, dict):
        rule = f"keys with values, such as +{group}.where.backbone=vit"
        raise ValueRefusedError(f"{group}.where", rule, value)
    return dict(flat(value or {}))


def names(value: Any) -> tuple[str, ...] | None:
    """Return a name or a list of names as a tuple."""
    if value is None:
        return None
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return tuple(map(str, value)) if is_list else (str(value),)


def listed(rows: Sequence[str]) -> str:
    """Return the names of rows; those that hold commas are told apart by strokes."""
    return (" / " if any(SEPARATOR in row for row in rows) else ", ").join(rows)


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Yield dotted key -> value of nested mappings."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _natural(name: str) -> list[tuple[bool, float, str]]:
    """Return what names are sorted by: numbers by size, before words; of these "none" first."""
    values = name.split(SEPARATOR)
    words = ["" if value == NONE else value for value in values]
    return [(False, float(v), "") if is_number(v) else (True, 0.0, v) for v in words]


def is_number(name: str) -> bool:
    """Return whether a name is a number."""
    try:
        float(name)
    except ValueError:
        return False
    return True
