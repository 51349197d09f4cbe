"""What plans foresee, row by row, so that jobs of a sweep count together what they share once."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from sip.config import sweep
from sip.core.files import free_bytes
from sip.core.spill import Spilled
from sip.core.text import counted, format_duration, format_space
from sip.core.uri import Place

Kind = Literal["caption", "score", "generate", "cached", "train"]
Item = TypeVar("Item")
Cost = TypeVar("Cost", bound=Hashable)


@dataclass(frozen=True)
class PlannedRows:
    """Rows that a job needs and that cost the same each.

    Attributes:
        kind: What is to be done for them; "cached": generated before.
        place: Folder of the rows: a key means the same in all jobs with this folder.
        keys: Keys of the rows; a row that several jobs need has the same in all.
        evaluations, least: U-Net forward passes of a row, and those that are needed whatever a
            verdict says.
        steps: Optimiser steps of a training.
        bytes: Bytes of a row on the store's disk.
        seconds: Seconds of a row; None if it was not measured.
        size: Width and height of images that keep their aspect ratio, in words; else empty.
        exact: False if the keys stand for rows that are known only after captions or other jobs:
            two keys may then turn out to be one row, never one key two rows.
        control: ControlNet forward passes of a row.
    """

    kind: Kind
    place: str
    keys: Sequence[str]
    evaluations: int = 0
    least: int = 0
    steps: int = 0
    bytes: float = 0.0
    seconds: float | None = 0.0
    size: str = ""
    exact: bool = True
    control: int = 0


def alike(items: Iterable[Item], cost: Callable[[Item], Cost]) -> dict[Cost, Spilled[Item]]:
    """Return cost -> the items that have it."""
    groups: dict[Cost, Spilled[Item]] = {}
    for item in items:
        groups.setdefault(cost(item), Spilled()).append(item)
    return groups


def by_size(work: Iterable[PlannedRows]) -> str:
    """Return the images to generate and their evaluations at each size; empty for squares."""
    groups = alike((rows for rows in work if rows.size), lambda rows: rows.size)
    counts = {
        size: (
            sum(len(one.keys) for one in rows),
            sum(one.evaluations * len(one.keys) for one in rows),
        )
        for size, rows in groups.items()
    }
    largest = sorted(counts.items(), key=lambda item: -item[1][0])
    return "; ".join(
        f"{size}: {counted(num, 'image')}" + (f", {cost:,} evaluations" if cost else "")
        for size, (num, cost) in largest
    )


def at_most(evaluations: int, least: int | None) -> str:
    """Return a number of evaluations; an upper bound with the lower one."""
    if least is None or least == evaluations:
        return f"{evaluations:,}"
    return f"at most {evaluations:,} (at least {least:,})"


def leave(work: Iterable[PlannedRows]) -> None:
    """Leave the work of this job to the total of its sweep, if it is a job of one."""
    sweep.leave([vars(rows) | {"keys": [*rows.keys]} for rows in work])


def left() -> list[list[PlannedRows]]:
    """Return the work that the jobs of this sweep have left."""
    return [
        [PlannedRows(**rows | {"keys": tuple(rows["keys"])}) for rows in job]
        for job in sweep.plans()
    ]


def total_lines(jobs: Sequence[Iterable[PlannedRows]], store: Place) -> dict[str, str]:
    """Return the total of jobs as names and values; a row that several need counts once.

    Args:
        jobs: The work of each job.
        store: The store.
    """
    rows: dict[tuple[str, str, str], PlannedRows] = {}
    for job in jobs:
        for work in job:
            for key in work.keys:
                known = rows.setdefault((work.kind, work.place, key), work)
                if (work.evaluations, work.least) > (known.evaluations, known.least):
                    rows[work.kind, work.place, key] = work
    kinds = alike(rows.values(), lambda work: work.kind)
    lines = {"total": f"{counted(len(jobs), 'job')} planned; what several need is counted once"}
    if kinds.keys() - {"train"}:
        lines |= _generation(kinds, store)
    if train := kinds.get("train"):
        bound = _bound(train)
        lines["to train"] = bound + counted(len(train), "classifier")
        lines["optimiser steps"] = f"{bound}{sum(work.steps for work in train):,}"
    return {**lines, "time": _time(rows.values())}


def _generation(kinds: Mapping[Kind, Sequence[PlannedRows]], store: Place) -> dict[str, str]:
    """Return the lines on what is generated."""
    generate = kinds.get("generate", [])
    evaluations = sum(work.evaluations for work in generate)
    least = sum(work.least for work in generate)
    bound = _bound(generate)
    passes = at_most(evaluations, least)
    needed = sum(work.bytes for work in generate)
    to_caption, to_score, cached = (
        len(kinds.get(kind, [])) for kind in ("caption", "score", "cached")
    )
    return {
        "to caption, to score": f"{to_caption:,}, {counted(to_score, 'image')}",
        "to generate": ("at most " if least < evaluations else bound)
        + counted(len(generate), "image"),
        "cached": counted(cached, "image"),
        **({"sizes": sizes} if (sizes := by_size(generate)) else {}),
        **(
            {"U-Net evaluations": passes if least < evaluations else bound + passes}
            if evaluations
            else {}
        ),
        **(
            {"ControlNet evaluations": f"{'at most ' if least < evaluations else bound}{control:,}"}
            if (control := sum(work.control for work in generate))
            else {}
        ),
        "disk": f"about {format_space(needed, free_bytes(store), ' needed, {} free')}",
    }


def _bound(rows: Iterable[PlannedRows]) -> str:
    return "" if all(work.exact for work in rows) else "at most "


def _time(rows: Iterable[PlannedRows]) -> str:
    """Return the time of all rows, one after the other."""
    seconds = [work.seconds for work in rows if work.kind != "cached"]
    measured = [value for value in seconds if value is not None]
    if len(measured) < len(seconds):
        return "not measured for all jobs: their plans say why"
    if not seconds:
        return "none, everything is cached"
    return f"about {format_duration(sum(measured))}, one job after the other"
