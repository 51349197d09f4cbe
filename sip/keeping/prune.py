"""Deleting the rows that no run needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sip.core.errors import UserError
from sip.core.text import join_first
from sip.keeping.needs import Needs
from sip.store.census import made_at
from sip.store.claims import readable
from sip.store.filling import UNCLAIMED
from sip.store.order import by_shard, keeping, opened, replace
from sip.store.place import StagePlace
from sip.store.shards import FAILED
from sip.store.stage import StageStore


@dataclass(frozen=True)
class Unneeded:
    """Rows of a stage that no run needs.

    Attributes:
        place: The place of the stage.
        keep: Shard -> keys of the rows that stay, of the shards that lose some.
        rows: Number of rows that go.
        of: Number of rows of the stage.
        young: Number of rows that no run needs and that stay, as they were made lately.
        bytes: Bytes of the shards that lose all their rows, and the share of the others' that goes.
    """

    place: StagePlace[Any]
    keep: dict[str, list[str]]
    rows: int
    of: int
    young: int
    bytes: int


def require_quiet(place: StagePlace[Any], own: str = "") -> None:
    """Check that no process makes rows of a stage: what it reads of them is not known.

    Args:
        place: The place of the stage.
        own: Owner whose claim is this process's.

    Raises:
        UserError: One does.
    """
    if place.tmp.is_dir() and any(path.name.startswith(UNCLAIMED) for path in place.tmp.iterdir()):
        raise UserError(
            f"{place.root}: a worker of executor=static works on it, or died within a day "
            f"({place.tmp}); start again when it has ended"
        )
    claims = place.claims()
    if claims.is_empty():
        return
    claims.look()
    if owners := sorted(claims.owners() - {claims.owner, own}):
        names = join_first([readable(owner) for owner in owners])
        raise UserError(f"{place.root}: {names} works on it; start again when it has ended")


def unneeded(place: StagePlace[Any], needs: Needs, before: float) -> Unneeded:
    """Return the rows of a stage that no run needs; nothing is changed.

    Args:
        place: The place of the stage.
        needs: What runs need.
        before: Rows that were made later stay, s since 1970.
    """
    return _of(opened(place), needs, before)


def prune(place: StagePlace[Any], needs: Needs, before: float) -> Unneeded:
    """Delete the rows of a stage that no run needs.

    Of a shard that keeps rows, a new one has these before the old one goes.

    Args:
        place, needs, before: As in `unneeded`.

    Returns:
        What was deleted.

    Raises:
        UserError: A process makes rows of the stage, or it cannot be written; what was deleted
            before stays so.
        DamagedError: A shard is damaged; those before it are done.
    """
    require_quiet(place)
    with keeping(place) as claims:
        found = _of(opened(place), needs, before)
        for shard in found.keep:
            require_quiet(place, claims.owner)
            replace(place, claims.owner, [shard], found.keep)
    return found


def _of(stage: StageStore, needs: Needs, before: float) -> Unneeded:
    place, keep = stage.place, dict[str, list[str]]()
    sizes = sizes_of(place)
    num, young, of, num_bytes = 0, 0, 0, 0.0
    for shard, keys in by_shard(stage).items():
        of += len(keys)
        kept = [key for key in keys if needs.has(place, key, _status(stage, key))]
        lost = len(keys) - len(kept)
        if not lost:
            continue
        if (made_at(shard) or 0.0) >= before:
            young += lost
            continue
        keep[shard] = kept
        num += lost
        num_bytes += sizes.get(shard, 0) * lost / len(keys)
    return Unneeded(place, keep, num, of, young, round(num_bytes))


def _status(stage: StageStore, key: str) -> str | None:
    return FAILED if stage.index[key] < 0 else None


def sizes_of(place: StagePlace[Any]) -> dict[str, int]:
    """Return shard -> bytes."""
    sizes: dict[str, int] = {}
    for name, size in place.files():
        part, *inner = name.split("/")
        if part == "shards" and inner:
            sizes[inner[0]] = sizes.get(inner[0], 0) + size
    return sizes


def total(found: Sequence[Unneeded]) -> tuple[int, int]:
    """Return the number of rows that go, and their bytes."""
    return sum(each.rows for each in found), sum(each.bytes for each in found)
