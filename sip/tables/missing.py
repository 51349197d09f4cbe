"""Cells that are not there, or lack seeds, and the command that fills each of them.

A command is that of the nearest finished run, changed by the cell's keys. Cells that no command can
fill, such as a noise rate of an arm that generates nothing, are no gaps.
"""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sip.records.read import GENERATION, TrainingRun
from sip.records.summary import BASE
from sip.records.varied import plain
from sip.tables.cells import Place, TableCell
from sip.tables.layout import MEAN, NONE, SEPARATOR, TableLayout


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
        return f"{where}: lacks seeds {', '.join(map(str, self.seeds))}"


def gaps(
    found: Mapping[Place, TableCell],
    runs: Iterable[TrainingRun],
    layout: TableLayout,
    experiment: str | None,
) -> list[Gap]:
    """Return the gaps of a table: its blocks' rows times their columns, times the seeds found."""
    runs, result = list(runs), []
    whole = {place: cell for place, cell in found.items() if place[2] != MEAN}
    for block in sorted({block for block, _, _ in whole}):
        here = [place for place in whole if place[0] == block]
        seeds = {seed for place in here for seed in whole[place].values}
        for row in layout.order(row for _, row, _ in here):
            for column in layout.column_order(column for _, _, column in here):
                cell = whole.get((block, row, column))
                lacks = seeds - set(cell.values) if cell else seeds
                place = block, row, column
                if lacks and (cell is not None or _is_possible(place, runs, layout)):
                    done = command(place, sorted(lacks), runs, layout, experiment)
                    result.append(Gap(place, tuple(sorted(lacks)), cell is None, done))
    return result


def _is_possible(place: Place, runs: Sequence[TrainingRun], layout: TableLayout) -> bool:
    """Return whether a command can fill an empty cell."""
    from sip.tables.possible import is_possible

    wanted = {
        key: value
        for key, value in _wanted(place, layout).items()
        if not hasattr(runs[0].summary, key)  # such as augmentation, named by its parts
    }
    nearest, kept, changes = _overrides(place, runs, layout)
    return is_possible([*kept, *changes], wanted, nearest.summary.overrides)


def _wanted(place: Place, layout: TableLayout) -> dict[str, str]:
    """Return key -> value of a cell; "-" if the key plays no part in it."""
    block, row, column = place
    values = row.split(SEPARATOR)
    values += ["-"] * (len(layout.rows) - len(values))  # those at the end are left out
    wanted = dict(zip(layout.rows, values, strict=False))
    wanted |= {layout.block: block} if layout.block else {}
    return wanted | ({layout.columns: column} if layout.columns else {})


def command(
    place: Place,
    seeds: Iterable[int],
    runs: Sequence[TrainingRun],
    layout: TableLayout,
    experiment: str | None,
) -> str:
    """Return the command that makes a cell's runs."""
    _, kept, changes = _overrides(place, runs, layout)
    kept += [f"experiment={experiment}"] if experiment else []
    listed = ",".join(map(str, seeds))
    several = ["-m"] if "," in listed else []
    words = ["python", "-m", "sip.train", *several, *kept, *changes, f"seed={listed}"]
    return shlex.join(words)


def _overrides(
    place: Place, runs: Sequence[TrainingRun], layout: TableLayout
) -> tuple[TrainingRun, list[str], list[str]]:
    """Return the nearest run, what a cell's command keeps of its overrides, and what it changes."""

    def near(run: TrainingRun) -> tuple[bool, bool, bool, int]:
        places = layout.block_of(run), layout.row_of(run), layout.column_of(run)
        alike = [mine == theirs for mine, theirs in zip(places, place, strict=True)]
        return (
            alike[1],
            alike[0],
            alike[2],
            -run.summary.seed,
        )  # the row first: an arm has most settings

    nearest = max(runs, key=near)
    changes: list[str] = []
    for key, value in _wanted(place, layout).items():
        if value != "-":
            donors = [run for run in runs if plain(run.value(key)) == value]
            changes += _changes(key, value, donors[0] if donors else None)
    names = {_name(change) for change in [*changes, "seed=", "experiment=", "+sweep="]}
    kept = [text for text in nearest.summary.overrides if not _replaced(_name(text), names)]
    if place[1].split(SEPARATOR)[0] == NONE:  # settings of the generation are without effect
        kept = [text for text in kept if re.split("[./@]", _name(text))[0] not in GENERATION]
    return nearest, kept, changes


def _changes(key: str, value: str, donor: TrainingRun | None) -> list[str]:
    """Return the overrides that set a key, as a run with that value wrote them, if there is one."""
    if key == "augmentation":  # its summary name is that of its parts, not that of a preset
        return _augmentation(value, donor)
    return [f"{key}={value}"]


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


def _replaced(name: str, changed: set[str]) -> bool:
    """Return whether an override is of a changed key, or of a part of a changed group.

    The base transform is not part of the arm.
    """
    path, paths = name.replace("/", "."), {key.replace("/", ".") for key in changed}
    if path.startswith(BASE.replace("/", ".")):
        return path in paths
    return any(path == key or path.startswith(f"{key}.") for key in paths)
