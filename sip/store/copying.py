"""Copy stages from one store to another, a folder or a bucket; started again, it goes on.

A shard is copied as it is and compared with its checksums before it is published, with its rows as
the last file, as every commit. What the target has is left out: shards by name, rows by key, so
that two stores of which each has rows of its own become one. Files of their own become one tar file
in a bucket.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sip.core import objects
from sip.core.errors import DamagedError, UserError
from sip.core.files import files_below, plain_disk_errors
from sip.store.assemble import Part, States, assemble
from sip.store.order import keeping, opened
from sip.store.place import RECIPE_FILE, StagePlace
from sip.store.repair import check
from sip.store.shards import FAILED
from sip.store.stage import StageStore, Store

CHUNK = 2**23  # bytes that are copied at a time


@dataclass(frozen=True)
class Copied:
    """One shard that was looked at.

    Attributes:
        rows: Rows that were copied.
        there: Rows that the target had.
        fault: Why the shard could not be copied; None if it was.
    """

    rows: int
    there: int
    fault: str | None = None


def copy_stage(source: StagePlace[Any], target: Store) -> Iterator[Copied]:
    """Copy the rows of a stage that the target lacks; yield a count for each shard.

    Args:
        source: The place of the stage.
        target: The store that gets it.

    Raises:
        UserError: The target cannot be written, holds another recipe in that place, or another
            process puts it in order.
    """
    place = target.place(source.path)
    _copy_recipe(source, place)
    shards = sorted(source.names())
    in_tar = dict(zip(shards, source.are_tars(shards), strict=True))
    with keeping(place) as claims:
        there = opened(place)
        for shard in shards:
            try:
                rows = [state for _, states in source.keys_of([shard]) for state in states]
                lacking = [] if shard in there.names else [r for r in rows if _lacks(there, *r)]
                if lacking:
                    _copy_shard(source, place, claims.owner, shard, rows, lacking, in_tar[shard])
            except DamagedError as error:
                source.look_again()
                gone = shard not in source.names()
                fault = f"{source.shards / shard} was joined with other ones: start again"
                yield Copied(0, 0, fault if gone else str(error))
                continue
            if lacking:
                there.remember(shard, lacking)
            yield Copied(len(lacking), len(rows) - len(lacking))
        place.tidy()


def _lacks(there: StageStore, key: str, state: str | None) -> bool:
    """Return whether a row is missing, or is there only as a failed one."""
    return key not in there.index or (there.index[key] < 0 and state != FAILED)


def _copy_recipe(source: StagePlace[Any], target: StagePlace[Any]) -> None:
    """Write the recipe, unless the target has it.

    Raises:
        UserError: It has another one.
    """
    try:
        recipe = source.read_recipe()
    except FileNotFoundError:
        raise UserError(
            f"{source.root}: must be a stage with its recipe.json, got none; the command that made "
            "its rows writes it again"
        ) from None
    try:
        known = target.read_recipe()
    except FileNotFoundError:
        target.prepare()
        target.write_recipe(recipe)
        return
    if known != recipe:
        raise UserError(
            f"{target.root / RECIPE_FILE}: must be that of {source.root}, got another; delete the "
            "one that was edited: the command that made its rows writes it again"
        )


def _copy_shard(
    source: StagePlace[Any],
    target: StagePlace[Any],
    owner: str,
    shard: str,
    rows: States,
    lacking: States,
    in_tar: bool,
) -> None:
    """Publish those of a shard's rows in another place that it lacks.

    Raises:
        DamagedError: The shard is damaged.
    """
    if len(lacking) < len(rows) or (not in_tar and target.storage("files") == "webdataset"):
        part = Part(source.shards / shard, {key for key, _ in lacking})
        made = assemble(target, owner, [part])
        target.publish(made.folder, made.name, made.states)
        return
    folder = target.tmp / f"{owner}--{shard}"
    with plain_disk_errors(target.work):
        folder.mkdir(parents=True)
        try:
            for name in _names(source, shard):
                with (folder / name).open("wb") as file:
                    _copy_file(source.shards / shard / name, file)
            seen = check(folder, keep=False)
            if seen.damaged is not None:
                raise DamagedError(f"{source.shards / shard} is damaged; repair that store")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        target.publish(folder, shard, rows)


def _names(source: StagePlace[Any], shard: str) -> list[str]:
    place = source.shards / shard
    if isinstance(place, Path):
        return [name for name, _ in files_below(place)]
    return [there.name for there in objects.listing(place)]


def _copy_file(source: Any, target: Any) -> None:
    try:
        if not isinstance(source, Path):
            objects.read_into(source, target)
            return
        with source.open("rb") as file:
            while chunk := file.read(CHUNK):
                target.write(chunk)
    except FileNotFoundError as error:
        raise DamagedError(f"{source} is gone") from error
