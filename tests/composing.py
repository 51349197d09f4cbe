"""Compositions of `conf/` for all tests; the same choices are composed once a process.

What the command line sets after Hydra has composed the choices of all groups is set by Hydra's own
function on a copy: composing takes 0.2 s, a copy a few milliseconds.
"""

import atexit
import shutil
import tempfile
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from sip.core.paths import conf_folder

CONF = conf_folder()
PLACES = ("store", "runs")  # keys of `paths`


def initialized() -> AbstractContextManager[None]:
    """Return the context in which Hydra composes from `conf/`."""
    return initialize_config_dir(str(CONF), version_base="1.3")


def composed(
    *overrides: str, name: str = "config", folder: Path | None = None, hydra: bool = False
) -> DictConfig:
    """Return the configuration of a command line.

    Args:
        overrides: As typed.
        name: Root configuration of a command, or `<group>/<choice>` for a part by itself.
        folder: Gets store and runs, while all tests share the digits, which take longest to write;
            None leaves `paths` as they are. Not with `hydra`.
        hydra: Include the node `hydra`.
    """
    if hydra:
        return deepcopy(_composed(name, overrides, True))
    parsed = OverridesParser.create().parse_overrides([*overrides])
    values = [each for each in parsed if not (CONF / each.key_or_group).is_dir()]
    choices = [text for text, each in zip(overrides, parsed, strict=True) if each not in values]
    config = deepcopy(_composed(name, tuple(choices), False))
    for place in PLACES if folder and "paths" in config else ():
        if place in config.paths:
            config.paths[place] = str(folder / place)
    if folder and "data" in config.get("paths", {}):
        config.paths.data = data_folder()
    ConfigLoaderImpl._apply_overrides_to_config(values, config)
    return config


@cache
def data_folder() -> str:
    """Return the folder of the tests' data sets; it goes with the process."""
    folder = tempfile.mkdtemp(prefix="sip-data-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def _composed(name: str, overrides: tuple[str, ...], hydra: bool) -> DictConfig:
    with nullcontext() if GlobalHydra.instance().is_initialized() else initialized():
        return compose(name, list(overrides), return_hydra_config=hydra)
