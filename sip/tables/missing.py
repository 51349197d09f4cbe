"""Cells that are not there, or lack seeds, and the command that fills each of them.

A command is that of the nearest finished run, changed by the cell's keys. Cells that no command can
fill, such as a noise rate of an arm that generates nothing, are no gaps.
"""

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from sip.config.provenance import Recorded, end_of_program
from sip.records.read import GENERATION, TrainingRun
from sip.records.summary import BASE
from sip.records.varied import plain
from sip.tables.cells import Place, TableCell
from sip.tables.layout import MEAN, NONE, SEPARATOR, TableLayout

PLAIN = re.compile(r"([\w./@+]+)=[\w.+/-]+")  # an override with a value that a sweep can list


class Placed(NamedTuple):
    """A run with its place in a table, and its values of the table's keys."""

    run: TrainingRun
    place: Place
    values: Mapping[str, str]


def placed(runs: Iterable[TrainingRun], layout: TableLayout) -> list[Placed]:
    """Return the runs of a table with their places."""
    keys = [key for key in (layout.block, *layout.rows, layout.columns) if key]
    return [
        Placed(
            run,
            (layout.block_of(run), layout.row_of(run), layout.column_of(run)),
            {key: plain(run.value(key)) for key in keys},
        )
        for run in runs
    ]


@dataclass(frozen=True)
class Gap:
    """What a cell lacks.

    Attributes:
        place: Block, row and column.
        seeds: Missing seeds; all of the block if the cell is empty.
        whole: Whether the cell is empty.
        command: Command that computes them.
    """

    place: Place
    seeds: tuple[int, ...]
    whole: bool
    command: str

    def line(self, layout: TableLayout) -> str:
        """Return the gap in one line, without its command."""
        where = layout.place_name(*self.place)
        if self.whole:
            return f"{where}: missing"
        word = "seed" if len(self.seeds) == 1 else "seeds"
        return f"{where}: lacks {word} {', '.join(map(str, self.seeds))}"


def gaps(
    found: Mapping[Place, TableCell],
    runs: Sequence[Placed],
    layout: TableLayout,
    experiments: Sequence[str] = (),
) -> list[Gap]:
    """Return the gaps of a table: its blocks' rows times their columns, times the seeds found."""
    result = []
    whole = {place: cell for place, cell in found.items() if place[2] != MEAN}
    for block in sorted({block for block, _, _ in whole}):
        here = [place for place in whole if place[0] == block]
        seeds = {seed for place in here for seed in whole[place].values}
        for row in layout.order(row for _, row, _ in here):
            for column in layout.column_order(column for _, _, column in here):
                cell = whole.get((block, row, column))
                lacks = sorted(seeds - set(cell.values) if cell else seeds)
                if not lacks:
                    continue
                made = CellCommand.of((block, row, column), runs, layout)
                if cell is not None or made.is_possible():
                    done = made.command(lacks, experiments)
                    result.append(Gap(made.place, tuple(lacks), cell is None, done))
    return result


@dataclass(frozen=True)
class CellCommand:
    """How a cell's runs are made: as the nearest finished run, changed by the cell's keys.

    Attributes:
        place: Block, row and column.
        wanted: Key -> value of the cell; "-" if the key plays no part in it.
        nearest: The run.
        overrides: Those of the command, without seed and experiment.
    """

    place: Place
    wanted: Mapping[str, str]
    nearest: TrainingRun
    overrides: Sequence[str]

    @classmethod
    def of(cls, place: Place, runs: Sequence[Placed], layout: TableLayout) -> Self:
        """Return how a cell of a table of these runs is filled."""

        def near(one: Placed) -> tuple[bool, bool, bool, int]:
            block, row, column = (a == b for a, b in zip(one.place, place, strict=True))
            return row, block, column, -one.run.summary.seed  # an arm has most settings

        wanted = _wanted(place, layout)
        nearest = max(runs, key=near)
        changes: list[str] = []
        names = {"seed", "experiment", "sweep"}
        for key, value in wanted.items():
            if value != "-":
                donors = (one.run for one in runs if one.values[key] == value)
                own = _changes(key, value, next(donors, None))
                changes += own
                if nearest.values[key] != value:  # else its settings below the key stay
                    names |= set(map(_name, own))
        stated = set(map(_path, changes))
        given = _as_in(place, nearest, runs, set(wanted))
        kept = [t for t in given if _path(t) not in stated and not _replaced(_name(t), names)]
        if place[1].split(SEPARATOR)[0] == NONE:  # settings of the generation are without effect
            kept = [text for text in kept if re.split("[./@]", _name(text))[0] not in GENERATION]
        return cls(place, wanted, nearest.run, [*kept, *changes])

    def is_possible(self) -> bool:
        """Return whether the configuration takes the command."""
        from sip.tables.possible import is_possible

        summary = self.nearest.summary
        wanted = {
            key: value
            for key, value in self.wanted.items()
            if not hasattr(summary, key)  # such as augmentation, named by its parts
        }
        return is_possible(self.overrides, wanted, summary.overrides)

    def command(self, seeds: Iterable[int], experiments: Sequence[str] = ()) -> str:
        """Return the command that makes runs with these seeds.

        Args:
            seeds: The seeds.
            experiments: Those that the table is of; the nearest run's is taken, one of these first.
        """
        own = [name for name in self.nearest.summary.experiments if name]
        own.sort(key=lambda name: name not in experiments)
        given = [*self.overrides, *(f"experiment={name}" for name in own[:1])]
        listed = ",".join(map(str, seeds))
        several = ["-m"] if "," in listed else []
        recorded = Recorded.of(self.nearest.summary.command)
        return recorded.line("train", [*several, *given, f"seed={listed}"])


def _as_in(place: Place, nearest: Placed, runs: Sequence[Placed], keys: set[str]) -> list[str]:
    """Return the overrides of a run with those that the runs of a cell's block and column share.

    They take the place of those that the runs of its own block and column share, such as
    `classifier=probe` with one backbone only. `keys` are the cell's own.
    """
    own, theirs = (
        [one for one in runs if one.place[::2] == there]
        for there in (place[::2], nearest.place[::2])
    )
    given = list(nearest.run.summary.overrides)
    if not own or len({one.place[1] for one in theirs}) < 2:  # else it may be the row's
        return given
    shared, left = _shared(own), _shared(theirs)
    kept = [text for text in given if text in shared or text not in left]
    added = [text for text in own[0].run.summary.overrides if text in shared - {*given}]
    return [*kept, *(text for text in added if not _replaced(_name(text), keys))]


def _shared(runs: Sequence[Placed]) -> set[str]:
    """Return the overrides that all runs have."""
    return set.intersection(*(set(one.run.summary.overrides) for one in runs))


def together(filled: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the commands, those joined to a sweep that differ in the value of one key.

    Args:
        filled: What a command fills, and the command.
    """
    result: list[tuple[str, str]] = []
    left = [(name, shlex.split(command)) for name, command in filled]
    while left:
        (name, words), *left = left
        places = [_differs(words, others) for _, others in left]
        found = Counter(place for place in places if place is not None).most_common(1)
        if found:
            at = found[0][0]
            joined = [row for row, place in zip(left, places, strict=True) if place == at]
            left = [row for row, place in zip(left, places, strict=True) if place != at]
            values = [others[at].partition("=")[2] for _, others in joined]
            words = [*words[:at], ",".join([words[at], *values]), *words[at + 1 :]]
            end = end_of_program(words)
            words = words if "-m" in words[end:] else [*words[:end], "-m", *words[end:]]
            name = "; ".join([name, *(name for name, _ in joined)])
        result.append((name, shlex.join(words)))
    return result if len(result) == len(filled) else together(result)


def _differs(words: Sequence[str], others: Sequence[str]) -> int | None:
    """Return the one place at which two commands differ, in the plain value of a key."""
    if len(words) != len(others):
        return None
    places = [at for at, pair in enumerate(zip(words, others, strict=True)) if len({*pair}) > 1]
    if len(places) != 1:
        return None
    (at,) = places
    if at < end_of_program(words):
        return None
    one, other = PLAIN.fullmatch(words[at]), PLAIN.fullmatch(others[at])
    return at if one and other and one[1] == other[1] != "seed" else None


def _wanted(place: Place, layout: TableLayout) -> dict[str, str]:
    """Return key -> value of a cell; "-" if the key plays no part in it."""
    block, row, column = place
    values = row.split(SEPARATOR)
    values += ["-"] * (len(layout.rows) - len(values))  # those at the end are left out
    wanted = dict(zip(layout.rows, values, strict=False))
    wanted |= {layout.block: block} if layout.block else {}
    return wanted | ({layout.columns: column} if layout.columns else {})


def _changes(key: str, value: str, donor: TrainingRun | None) -> list[str]:
    """Return the overrides that set a key, as a run with that value wrote them, if there is one."""
    if key == "augmentation":  # its summary name is that of its parts, not that of a preset
        return _augmentation(value, donor)
    exact = donor.value(key) if donor else None
    is_rounded = isinstance(exact, float) and float(value) != exact  # tables write six digits
    return [f"{key}={exact!r}" if is_rounded else f"{key}={value}"]


def _augmentation(arm: str, donor: TrainingRun | None) -> list[str]:
    choices = donor.summary.choices if donor else {}
    preset = choices.get("augmentation", arm)
    if preset != "combo" and _is_preset(preset):
        return [f"augmentation={preset}"]
    parts = [f"augmentation/{place}" for place in ("offline", "sample", "mix")]
    return ["augmentation=combo", *(f"{part}={choices.get(part, 'none')}" for part in parts)]


def _is_preset(name: str) -> bool:
    from sip.core.paths import conf_folder

    return (conf_folder() / "augmentation" / f"{Path(name).name}.yaml").is_file()


def _name(override: str) -> str:
    return override.lstrip("+~").split("=")[0]


def _path(override: str) -> str:
    return _name(override).replace("/", ".")


def _replaced(name: str, changed: set[str]) -> bool:
    """Return whether an override is of a changed key, or of a part of a changed group.

    The base transform is not part of the arm.
    """
    path, paths = name.replace("/", "."), {key.replace("/", ".") for key in changed}
    if path.startswith(BASE.replace("/", ".")):
        return path in paths
    return any(path == key or path.startswith(f"{key}.") for key in paths)
