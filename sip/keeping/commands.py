"""The commands of `python -m sip.store`."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from sip.core.errors import UserError
from sip.core.files import check_folders
from sip.core.progress import write_lines
from sip.core.text import counted
from sip.core.uri import place_of
from sip.keeping.listing import as_json, list_table, listed, size_table, sizes
from sip.keeping.uses import Use, uses_of
from sip.store.census import census, chosen, fingerprint, not_of_stages
from sip.store.place import StagePlace
from sip.store.repair import Damage, set_aside, verify
from sip.store.stage import Store


def run(config: DictConfig) -> None:
    """Carry out `config.command`.

    Raises:
        UserError: The store is not there, or a command says that something is wrong.
    """
    commands = {"list": _list, "du": _du, "verify": _verify, "repair": _repair}
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
    names = config.stages or []
    return chosen(opened(config), [names] if isinstance(names, str) else list(names))


def _list(config: DictConfig) -> None:
    stages = [census(place) for place in _places(config)]
    rows = listed(stages, uses_of(Path(config.paths.runs)))
    write_lines(as_json(rows) if config.json else list_table(rows))


def _du(config: DictConfig) -> None:
    stages = [census(place, count=False) for place in _places(config)]
    rest = [] if config.stages else list(not_of_stages(opened(config)))
    rows = sizes(stages, rest)
    write_lines(as_json(rows) if config.json else size_table(rows))


def _verify(config: DictConfig) -> None:
    damaged = verify(_places(config), config.num_workers)
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
    damaged = verify(_places(config), config.num_workers)
    set_aside(damaged)
    uses = uses_of(Path(config.paths.runs))
    for path in dict.fromkeys(damage.place.path for damage in damaged):
        stage, _, name = path.partition("/")
        write_lines(f"{path}: {_again(uses.get((stage, fingerprint(name)), ()))}")
    if not damaged:
        write_lines(f"{config.paths.store}: nothing is damaged")


def _stages(damaged: Sequence[Damage]) -> list[str]:
    """Return the argument that chooses the damaged stages."""
    return [f"stages=[{','.join(dict.fromkeys(damage.place.path for damage in damaged))}]"]


def _again(uses: Sequence[Use]) -> str:
    """Return what makes the rows of a stage again."""
    commands = [use.summary.command for use in uses if use.summary.command]
    if not commands:
        return "rows that were set aside are made again by the command that made them"
    return f"rows that were set aside are made again by {commands[0]}"
