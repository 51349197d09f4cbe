"""Rows that a layout states by name: its control, the arms of its claims, its baselines.

A name that no run can have is refused. One that could be run, and was not, is a gap.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType

from sip.config.words import near_names
from sip.core.errors import UserError
from sip.core.text import join_first
from sip.tables.cells import Place, TableCell
from sip.tables.layout import AUTO, PARTS, SEPARATOR, TableLayout
from sip.tables.missing import CellCommand, Gap, Placed
from sip.tables.possible import initialized

ARM = "augmentation"
PARTS_OF_ARM = ("augmentation/offline", "filter", "augmentation/sample", "augmentation/mix")


def require_rows(found: Mapping[Place, TableCell], layout: TableLayout) -> None:
    """Refuse rows that are stated and that neither a run nor a choice has.

    Raises:
        UserError: There is one.
    """
    rows = layout.order({row for _, row, _ in found})
    stated: list[tuple[str, str]] = []
    if ARM in layout.rows:  # table=main states them for whatever the rows are
        stated += [("table.arm", layout.arm)] if layout.arm else []
        stated += [("table.baselines", name) for name in layout.baselines]
    for claim in layout.family or ():
        key = f"table.family: claim {claim.claim!r}"
        stated += [(f"{key}: arm", name) for name in claim.arm]
        stated += [(f"{key}: against", name) for name in claim.against]
    if layout.control not in (None, AUTO, PARTS) and not layout.control_candidates(rows):
        stated.append(("table.control", layout.control))
    for key, name in stated:
        if any(_begins(row, name) for row in rows) or _is_choice(name, layout):
            continue
        known = [*rows, *filter(None, layout.row_words.values())]
        near = near_names(name, known + _choices(ARM) * (ARM in layout.rows))
        listed = join_first([layout.row_name(row) for row in rows], 6)
        fix = f"did you mean {' or '.join(near)}?" if near else f"there are {listed}"
        raise UserError(f"{key}: must be a row of the table, got {name!r}; {fix}")


def rows_to_run(
    found: Mapping[Place, TableCell],
    runs: Sequence[Placed],
    layout: TableLayout,
    experiments: Sequence[str],
    known: Collection[Place],
) -> Iterator[Gap]:
    """Yield rows that claims or the control name and that no run has, but for `known` gaps."""
    names = [name for claim in layout.family or () for name in (*claim.arm, *claim.against)]
    if layout.control not in (None, AUTO, PARTS):
        names.append(layout.control)
    for block in sorted({block for block, _, _ in found}):
        here = {place: cell for place, cell in found.items() if place[0] == block and cell.runs}
        rows = {row for _, row, _ in here}
        for name in dict.fromkeys(names):
            if any(_begins(row, name) or name == layout.row_name(row) for row in rows):
                continue
            for column in layout.column_order({column for _, _, column in here}):
                cells = [cell for place, cell in here.items() if place[2] == column]
                seeds = tuple(sorted({seed for cell in cells for seed in cell.values}))
                place = block, name, column
                if place in known:
                    continue
                command = CellCommand.of(place, runs, layout).command(seeds, experiments)
                yield Gap(place, seeds, True, command)


def _begins(row: str, name: str) -> bool:
    """Return whether a row is a stated one, or names further keys than it."""
    return row == name or row.startswith(f"{name}{SEPARATOR}")


def _is_choice(name: str, layout: TableLayout) -> bool:
    """Return whether a row could be run: each value is a choice of its key's group."""
    values = name.split(SEPARATOR)
    if len(values) > len(layout.rows):
        return False
    return all(
        _is_arm(value) if key == ARM else value in _choices(key)
        for key, value in zip(layout.rows, values, strict=False)
    )


def _is_arm(name: str) -> bool:
    """Return whether an arm can have this name: that of a preset, or of parts joined by "_"."""
    return name in _choices(ARM) or _is_joined(name, PARTS_OF_ARM)


def _is_joined(name: str, groups: Sequence[str]) -> bool:
    """Return whether a name is that of choices of some of the groups, in their order."""
    if not groups:
        return False
    for choice in _choices(groups[0]):
        rest = name.removeprefix(f"{choice}_")
        if name == choice or (rest != name and _is_joined(rest, groups[1:])):
            return True
    return _is_joined(name, groups[1:])


def _choices(group: str) -> list[str]:
    """Return the choices of a group, those of other folders that Hydra reads too."""
    with initialized():
        loader = GlobalHydra.instance().config_loader()
        return loader.get_group_options(group, ObjectType.CONFIG)
