"""Putting a stage in order while others read it and fill it: shards are replaced, never changed.

In this order, so that a kill anywhere loses nothing and the next call goes on:

1. one owner at a time holds the claim `KEEPS` of the stage;
2. the new shard is finished in `tmp`;
3. `moved/<new>.json` says where the bytes of the old shards are in it (`sip.core.moved`);
4. the new shard is published; from here on rows are there twice, which does no harm;
5. the old ones are removed. Who still names them is led to the new one, whenever it reads.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

from sip.core import moved
from sip.core.errors import DamagedError, UserError
from sip.core.files import plain_disk_errors
from sip.core.progress import say
from sip.store.assemble import Part, assemble
from sip.store.claims import readable
from sip.store.filling import remove_leftovers, unfinished
from sip.store.place import Owners, StagePlace
from sip.store.shards import FAILED
from sip.store.stage import StageStore

KEEPS = "sip.store"  # claimed like the key of a row; none has a dot in its name


@contextmanager
def keeping(place: StagePlace[Any]) -> Iterator[Owners]:
    """Hold the claim on putting a stage in order, and remove what dead owners have left.

    Raises:
        UserError: Another process holds it, or the stage cannot be written.
    """
    claims = place.claims()
    place.prepare()
    with plain_disk_errors(place.work):
        shards = unfinished(_stage_of(place))
        claims.look()
        with claims.locked():
            others = claims.claimed()
            lost = {KEEPS} if KEEPS in others else claims.take([KEEPS])
            remove_leftovers(shards, claims.owners())
    try:
        if lost:
            claims.look()
            who = readable(others.get(KEEPS, "")) if KEEPS in others else "another process"
            raise UserError(f"{place.root}: {who} puts it in order; start again when it has ended")
        finish(place, claims.owner)
        yield claims
    finally:
        claims.release()


def replace(
    place: StagePlace[Any],
    owner: str,
    shards: Sequence[str],
    keep: Mapping[str, Collection[str]],
    keep_named: bool = False,
) -> str | None:
    """Replace shards by one that holds some of their rows; must be called while `keeping`.

    Args:
        place: The place of the stage.
        owner: Who holds the claim.
        shards: Names of the old shards.
        keep: Name of a shard -> keys of the rows that are kept.
        keep_named: As that of `assemble`.

    Returns:
        The name of the new shard; None if no row is kept.

    Raises:
        DamagedError: A shard is damaged; nothing was changed.
    """
    parts = [Part(place.shards / shard, keep[shard]) for shard in shards]
    made = assemble(place, owner, parts, keep_named)
    with plain_disk_errors(place.work):
        if made.states:
            taken = made.taken
            if made.name in shards:  # no other one has rows, and has taken over others before
                taken = {**moved.takeovers(place.root).get(made.name, {}), **taken}
            place.write(moved.name(made.name), moved.content(taken))
            place.publish(made.folder, made.name, made.states)
        for shard in shards:
            if shard != made.name:
                place.remove(shard, owner)
    return made.name or None


def finish(place: StagePlace[Any], owner: str) -> None:
    """Remove what an earlier call that was killed has replaced already.

    A shard goes if all its rows are in other ones. One that was to lose rows stays, since a run may
    have used them meanwhile: they are looked at again.
    """
    taken = moved.takeovers(place.root)
    there, parts = place.names(), place.parts()
    joined = {old for olds in taken.values() for old in olds}
    for new, olds in taken.items():
        left = parts & olds.keys() - {new}
        if new not in there:
            if left and new not in joined:  # it was never published
                place.delete(moved.name(new))
            continue
        for old in left:
            if old not in there or _is_covered(place, old, new):
                place.remove(old, owner)


def _is_covered(place: StagePlace[Any], old: str, new: str) -> bool:
    """Return whether all rows of a shard are in another one."""
    try:
        rows = dict(chain.from_iterable(states for _, states in place.keys_of([new])))
        return all(
            key in rows and (rows[key] != FAILED or state == FAILED)
            for _, states in place.keys_of([old])
            for key, state in states
        )
    except DamagedError:
        return False


def compact(place: StagePlace[Any], size: int) -> tuple[int, int]:
    """Join the small shards of a stage; rows and bytes stay, and who reads or fills it goes on.

    Args:
        place: The place of the stage.
        size: Rows; shards with fewer are joined until they have as many.

    Returns:
        The number of shards that were joined, and of those that they became.

    Raises:
        UserError: Another process puts the stage in order, or it cannot be written.
    """
    with keeping(place) as claims:
        stage = opened(place)
        rows = by_shard(stage)
        num_old, made = 0, set[str]()
        for listed in groups(place, rows, size):
            # A call that was killed may have made the same shard before, which is listed too.
            group = [shard for shard in listed if shard not in made]
            if len(group) < 2:
                continue
            try:
                new = replace(place, claims.owner, group, rows, keep_named=True)
            except DamagedError as error:
                say(place.stage, f"{len(group)} shards are left as they are: {error}")
                continue
            num_old += len(group)
            if new:
                made.add(new)
        place.tidy()
    return num_old, len(made)


def opened(place: StagePlace[Any]) -> StageStore:
    """Return the rows of a place, whatever their recipe; all of them are in shards that are there.

    A manifest may name a shard that is gone, if a slow process noted it meanwhile.
    """
    stage = _stage_of(place)
    while True:
        stage.refresh()
        place.look_again()
        if place.names().issuperset(stage.names):
            return stage


def _stage_of(place: StagePlace[Any]) -> StageStore:
    fingerprint = place.root.name.rpartition("-")[2]
    return StageStore(place, place.path, place.stage, fingerprint, index={})


def by_shard(stage: StageStore) -> dict[str, list[str]]:
    """Return each shard with the keys of those of its rows that count, oldest shard first.

    A row that failed and was made again does not, nor does one that is there twice.
    """
    found: dict[str, list[str]] = {shard: [] for shard in sorted(stage.names)}
    assert isinstance(stage.index, dict)  # as of `opened`
    for key in stage.index:
        found[stage.shard_of(key)].append(key)
    return found


def groups(
    place: StagePlace[Any], rows: Mapping[str, Collection[str]], size: int
) -> Iterator[list[str]]:
    """Yield the shards that are joined: small ones of one storage, in the order of their age."""
    small = [shard for shard, keys in rows.items() if len(keys) < size]
    by_kind: dict[bool, list[str]] = {}
    for shard, in_tar in zip(small, place.are_tars(small), strict=True):
        by_kind.setdefault(in_tar, []).append(shard)
    for shards in by_kind.values():
        group: list[str] = []
        num = 0
        for shard in shards:
            group.append(shard)
            num += len(rows[shard])
            if num >= size:
                yield group
                group, num = [], 0
        if len(group) > 1:
            yield group
