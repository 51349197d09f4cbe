"""Which empty cells of a table can be filled: the configuration decides, as for a run."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sip.config.build import build
from sip.core.errors import UserError
from sip.core.paths import conf_folder
from sip.pipeline.components import Components
from sip.records.read import GENERATION
from sip.records.varied import plain

OFFLINE = "augmentation/offline"
ALWAYS = ("augmentation", "backbone", "classifier")  # components of every run


def is_possible(
    overrides: Sequence[str], wanted: Mapping[str, str], of_a_run: Sequence[str]
) -> bool:
    """Return whether a command makes a run of a cell.

    True too if that cannot be told, since the run's own command is not understood here: it may need
    configurations of another folder.

    Args:
        overrides: Overrides of the command.
        wanted: Key -> value of the cell, "-" if the key plays no part in it.
        of_a_run: The overrides of a finished run that the command was made from.
    """
    with initialized():
        config = _composed(overrides)
        if config is None:
            return _composed(of_a_run) is None
        return all(plain(_value(config, key)) == value for key, value in wanted.items())


@contextmanager
def initialized() -> Iterator[None]:
    """Have Hydra read SIP's configurations, unless it does already."""
    if GlobalHydra.instance().is_initialized():
        yield
        return
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        yield


def _composed(overrides: Sequence[str]) -> DictConfig | None:
    """Return the configuration of a run; None if it is refused."""
    try:
        config = compose("config", list(overrides), return_hydra_config=True)
        for name in ALWAYS:
            build(config[name])
        if _generates(config):
            Components(config)
    except (HydraException, OmegaConfBaseException, UserError):
        return None
    return config


def _generates(config: DictConfig) -> bool:
    return bool(config.hydra.runtime.choices.get(OFFLINE) != "none")


def _value(config: DictConfig, key: str) -> object:
    """Return a value as `RunRecord.value` does of the finished run."""
    path = key.replace("/", ".")
    if path.split(".")[0] in GENERATION and not _generates(config):
        return None
    value = config.hydra.runtime.choices.get(key)
    return OmegaConf.select(config, path) if value is None else value
