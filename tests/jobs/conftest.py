"""Configurations as a job of Hydra's has them."""

from collections.abc import Callable, Iterator

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from sip.core.paths import conf_folder

HydraJob = Callable[[list[str]], DictConfig]


@pytest.fixture
def hydra_job() -> Iterator[HydraJob]:
    """Return a function that composes a configuration, and makes this process its job."""

    def start(overrides: list[str]) -> DictConfig:
        config = compose("config", overrides, return_hydra_config=True)
        config.hydra.job.update(name="train", config_name="config", num=0)
        HydraConfig.instance().set_config(config)
        return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])

    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        yield start
    HydraConfig.instance().cfg = None
