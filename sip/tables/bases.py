"""The base transform of compared rows: it is part of no arm, so a table must state it.

If the base transforms of two rows differ, a gain of geometry is taken for a gain of the method.
Rows that differ in nothing but the base transform compare just that.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

from sip.records.read import TrainingRun
from sip.records.summary import BASE
from sip.tables.cells import Comparison, Place, TableCell
from sip.tables.claims import JOIN, ClaimResult
from sip.tables.layout import MEAN, SEPARATOR, TableLayout, listed

Pair = tuple[str, str, str, str]  # block, column, row, and the row that it is compared with
FIX = "run both with one augmentation/base, or table.columns=augmentation/base"


def compared_pairs(compared: Iterable[Comparison], claims: Iterable[ClaimResult]) -> list[Pair]:
    """Return what a table compares: with the control, and in claims."""
    pairs = [(one.block, one.column, one.row, one.against) for one in compared]
    for claim in claims:
        arms, others = claim.arm.split(JOIN), claim.against.split(JOIN)
        if claim.difference is not None:
            pairs += [
                (claim.block, claim.column, *names) for names in zip(arms, others, strict=True)
            ]
    return pairs


def has_unlike_bases(
    runs: Iterable[TrainingRun], comparison: Callable[[TrainingRun], Hashable]
) -> bool:
    """Return whether runs that are compared, those of one `comparison`, have unlike bases."""
    bases: dict[Hashable, str] = {}
    return any(
        bases.setdefault(comparison(run), run.summary.base) != run.summary.base for run in runs
    )


def base_notes(found: Mapping[Place, TableCell], layout: TableLayout) -> list[str]:
    """Return which rows have which base transform, unless their names, or the columns', tell."""
    if BASE in layout.keys:
        return []
    places: dict[str, dict[Place, None]] = defaultdict(dict)
    for (block, row, column), cell in found.items():
        for base in sorted({run.summary.base for run in cell.runs.values()}):
            places[base][block, row, column] = None
    if len(places) == 1:
        return [f"Base transform of all rows: {next(iter(places))}."]
    texts = []
    for base, mine in sorted(places.items()):
        names = dict.fromkeys(_names(mine, places, layout))
        texts.append(f"{base} ({listed(list(names))})")
    return [f"Base transform: {'; '.join(texts)}."] if texts else []


def _names(
    mine: Iterable[Place], places: Mapping[str, Iterable[Place]], layout: TableLayout
) -> list[str]:
    """Return names of cells, as short as tells them from cells with another base transform."""
    mine, every = list(mine), [(base, p) for base, here in places.items() for p in here]
    for shown in ((0,), (2,), (1,), (0, 2), (0, 1), (1, 2), (0, 1, 2)):
        bases: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for base, place in every:
            bases[tuple(place[n] for n in shown)].add(base)
        if all(len(found) == 1 for found in bases.values()):
            break
    return [layout.place_name(*(p if n in shown else "" for n, p in enumerate(place)))
            for place in mine]  # fmt: skip


def confounded(
    pairs: Iterable[Pair], found: Mapping[Place, TableCell], layout: TableLayout
) -> list[str]:
    """Return a line for each block with comparisons whose rows have unlike base transforms.

    Args:
        pairs: What is compared; means over columns have no runs, so each column counts.
        found: Cells.
        layout: Layout of the table.
    """
    columns = dict.fromkeys(column for _, _, column in found if column != MEAN)
    whole = [
        (block, name, row, against)
        for block, column, row, against in pairs
        for name in (columns if column == MEAN else [column])
    ]
    lines: dict[str, dict[str, None]] = defaultdict(dict)
    for block, column, row, against in whole:
        bases = [
            sorted({run.summary.base for run in cell.runs.values()})
            for cell in (found.get((block, name, column)) for name in (row, against))
            if cell is not None
        ]
        if len(bases) == 2 and bases[0] != bases[1] and not _is_of_base(row, against, layout):
            texts = [f"{layout.row_name(name)}{_base(name, base, layout)}"
                     for name, base in zip((row, against), bases, strict=True)]  # fmt: skip
            lines[layout.place_name(block, "", column)][" against ".join(texts)] = None
    return [
        f"CONFOUNDED{f', {name}' if name else ''}: the base transforms differ too, so these "
        f"differences are not the arms' alone: {'; '.join(texts)}; {FIX}."
        for name, texts in lines.items()
    ]


def _base(row: str, bases: Sequence[str], layout: TableLayout) -> str:
    """Return a row's base transform in parentheses, if its name does not state it."""
    stated = [f"base {base}" for base in bases]
    return "" if stated[0] in layout.row_name(row) else f" ({', '.join(stated)})"


def _is_of_base(row: str, against: str, layout: TableLayout) -> bool:
    """Return whether two rows differ in nothing but the base transform."""
    if BASE not in layout.rows:
        return False

    def others(name: str) -> list[str]:
        values = name.split(SEPARATOR)
        values += ["-"] * (len(layout.rows) - len(values))
        return [v for key, v in zip(layout.rows, values, strict=False) if key != BASE]

    return others(row) == others(against)
