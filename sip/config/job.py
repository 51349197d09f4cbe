"""A job in somebody's own program: composed as the command line would, without Hydra's state."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf, open_dict

from sip.config import guard, plugins
from sip.config.command import Command
from sip.config.provenance import own_job
from sip.core.errors import UserError
from sip.core.paths import conf_folder

_lock = threading.Lock()  # Hydra composes with one global object


@contextmanager
def job(name: str, overrides: Sequence[str], config_name: str = "config") -> Iterator[DictConfig]:
    """Compose a configuration, and be the job of that name in the block, in this thread.

    Args:
        name: The entry point that would run it, such as "generate".
        overrides: As on its command line.
        config_name: The primary configuration.

    Raises:
        UserError: An override is wrong, as on the command line.
    """
    config = _composed(name, overrides, config_name)
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    guard.check_targets(OmegaConf.to_container(own, resolve=False))
    token = own_job.set(config)
    try:
        yield own
    finally:
        own_job.reset(token)


def _composed(name: str, overrides: Sequence[str], config_name: str) -> DictConfig:
    plugins.register()
    command = Command(conf_folder(), config_name, list(overrides))
    command.check()
    try:
        with _lock, _own_hydra():
            typed = [*map(command.for_hydra, overrides)]
            config = compose(config_name, typed, return_hydra_config=True)
    except Exception as error:
        raise UserError(command.explain(error)) from error
    with open_dict(config):
        config.hydra.job.name = name
        config.hydra.overrides.task = list(overrides)
    return config


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Start Hydra in a program that may have its own, which is there again afterwards."""
    others, version = GlobalHydra.instance().hydra, VersionBase.instance().version_base
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = others
        VersionBase.instance().version_base = version
