"""The commands of `python -m sip.store`."""

import shlex
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from sip.core import object_cache
from sip.core.errors import UserError
from sip.core.files import check_can_be_made, check_folders
from sip.core.objects import check_bucket
from sip.core.progress import progress, write_lines
from sip.core.text import counted, format_bytes
from sip.core.uri import place_of
from sip.keeping.listing import as_json, list_table, listed, size_table, sizes
from sip.keeping.needs import names_of, needs_of, run_folders
from sip.keeping.prune import prune, require_quiet, total, unneeded
from sip.keeping.uses import Use, uses_of
from sip.store.census import census, chosen, fingerprint, not_of_stages
from sip.store.copying import copy_stage
from sip.store.order import compact
from sip.store.place import StagePlace
from sip.store.repair import BAR_AFTER, Damage, set_aside, verify
from sip.store.stage import Store


def run(config: DictConfig) -> None:
    """Carry out `config.command`.

    Raises:
        UserError: The store is not there, or a command says that something is wrong.
    """
    commands: dict[str, Callable[[DictConfig], None]] = {
        "list": _list,
        "du": _du,
        "verify": _verify,
        "repair": _repair,
        "compact": _compact,
        "prune": _prune,
        "export": _export,
        "import": _import,
    }
    commands[config.command](config)


def opened(config: DictConfig) -> Store:
    """Return the store of a configuration.

    Raises:
        UserError: There is none.
    """
    check_folders(config.paths)
    place = place_of(config.paths.store)
    if isinstance(place, Path) and not place.is_dir():
        raise UserError(
            f"paths.store: must be a store, got {place}, which is not there; say "
            "paths.store=FOLDER, or paths.store=s3://bucket/prefix"
        )
    return Store(place)


def _places(config: DictConfig) -> list[StagePlace[Any]]:
    return chosen(opened(config), _listed(config.stages))


def _listed(names: Any) -> list[str]:
    """Return the names of a list, or of one that is not in a list."""
    return [names] if isinstance(names, str) else list(names or [])


def _list(config: DictConfig) -> None:
    stages = [census(place) for place in _places(config)]
    rows = listed(stages, uses_of(Path(config.paths.runs)))
    write_lines(as_json(rows) if config.json else list_table(rows))


def _du(config: DictConfig) -> None:
    stages = [census(place, count=False) for place in _places(config)]
    rest = [] if config.stages else list(not_of_stages(opened(config)))
    rows = sizes(stages, rest)
    write_lines(as_json(rows) if config.json else size_table(rows))


def _damaged(config: DictConfig) -> list[Damage]:
    if type(config.num_workers) is not int or config.num_workers < 1:
        raise UserError(f"num_workers: must be a whole number >= 1, got {config.num_workers}")
    return verify(_places(config), config.num_workers)


def _verify(config: DictConfig) -> None:
    damaged = _damaged(config)
    for damage in damaged:
        write_lines(damage.line)
    if damaged:
        given = [f"paths.store={config.paths.store}", *_stages(damaged)]
        raise UserError(
            f"{counted(len(damaged), 'shard')} of {config.paths.store} damaged, as listed; "
            f"python -m sip.store repair {shlex.join(given)} sets them aside"
        )
    write_lines(f"{config.paths.store}: nothing is damaged")


def _repair(config: DictConfig) -> None:
    damaged = _damaged(config)
    set_aside(damaged)
    uses = uses_of(Path(config.paths.runs))
    for path in dict.fromkeys(damage.place.path for damage in damaged):
        stage, _, name = path.partition("/")
        write_lines(f"{path}: {_again(uses.get((stage, fingerprint(name)), ()))}")
    if not damaged:
        write_lines(f"{config.paths.store}: nothing is damaged")


def _compact(config: DictConfig) -> None:
    if not isinstance(config.shard_size, int) or config.shard_size < 1:
        raise UserError(f"shard_size: must be a whole number >= 1, got {config.shard_size}")
    for place in _places(config):
        old, new = compact(place, config.shard_size)
        if old:
            write_lines(f"{place.path}: {counted(old, 'small shard')} joined to {new}")
        else:
            write_lines(f"{place.path}: nothing to join")


def _prune(config: DictConfig) -> None:
    if not isinstance(config.older_than, int | float) or not config.older_than >= 0:
        raise UserError(f"older_than: must be hours >= 0, got {config.older_than}")
    runs = [Path(config.paths.runs), *map(Path, _listed(config.also))]
    places = _places(config)
    before = time.time() - 3600 * config.older_than
    folders = run_folders(runs)
    needs = needs_of(runs)
    for place in opened(config).places() if config.yes else ():
        require_quiet(place)
    write_lines(f"needed: what {counted(len(needs.runs), 'run')} of {names_of(runs)} read or made")
    found = []
    for place in places:
        if config.yes and run_folders(runs) != folders:
            raise UserError("runs began or ended while rows were deleted; start again")
        each = (prune if config.yes else unneeded)(place, needs, before)
        found.append(each)
        young = f"; {each.young:,} more are too young" if each.young else ""
        did = "deleted" if config.yes else "not needed"
        size = format_bytes(each.bytes)
        write_lines(f"{place.path}: {each.rows:,} of {each.of:,} rows {did}, {size}{young}")
    rows, num_bytes = total(found)
    if config.yes:
        write_lines(f"deleted: {counted(rows, 'row')}, {format_bytes(num_bytes)}")
    elif rows:
        write_lines(
            f"nothing was deleted; the same command with --yes deletes {counted(rows, 'row')}, "
            f"{format_bytes(num_bytes)}"
        )
    else:
        write_lines("every row is needed, or too young")


def _export(config: DictConfig) -> None:
    _copy(_places(config), _other(config, "to"))


def _import(config: DictConfig) -> None:
    source = _other(config, "from")
    check_folders(config.paths)
    _copy(chosen(source, _listed(config.stages)), Store(place_of(config.paths.store)))


def _other(config: DictConfig, key: str) -> Store:
    """Return the store that a key names.

    Raises:
        UserError: It is not given, is the same store, or is not there to be read.
    """
    text = config[key]
    if text in (None, ""):
        raise UserError(f"{key}: must be a store; say {key}=FOLDER or {key}=s3://bucket/prefix")
    object_cache.configure(config.paths)
    place = place_of(str(text), key).absolute()
    if place == place_of(config.paths.store).absolute():
        raise UserError(f"{key}: must be another store than paths.store, got {place}; name another")
    if not isinstance(place, Path):
        check_bucket(place, key)
    elif key == "to":
        check_can_be_made(place, key)
    elif not place.is_dir():
        raise UserError(f"{key}: must be a store, got {place}, which is not there; name another")
    return Store(place)


def _copy(places: Sequence[StagePlace[Any]], target: Store) -> None:
    faults = []
    for place in places:
        num = len(place.names())
        rows = there = 0
        with closing(progress(place.stage, num, "shard", delay=BAR_AFTER)) as bar:
            for copied in copy_stage(place, target):
                bar.update(1)
                rows, there = rows + copied.rows, there + copied.there
                if copied.fault:
                    faults.append(copied.fault)
        there_text = f", {there:,} were there" if there else ""
        write_lines(f"{place.path}: {counted(rows, 'row')} copied to {target.root}{there_text}")
    if faults:
        write_lines("\n".join(faults))
        raise UserError(f"{counted(len(faults), 'shard')} not copied, as listed")


def _stages(damaged: Sequence[Damage]) -> list[str]:
    """Return the argument that chooses the damaged stages."""
    return [f"stages=[{','.join(dict.fromkeys(damage.place.path for damage in damaged))}]"]


def _again(uses: Sequence[Use]) -> str:
    """Return what makes the rows of a stage again."""
    commands = [use.summary.command for use in uses if use.summary.command]
    if not commands:
        return "rows that were set aside are made again by the command that made them"
    return f"rows that were set aside are made again by {commands[0]}"
