"""Configurations as a job of Hydra's has them."""

from collections.abc import Callable, Iterator

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from tests.composing import composed, initialized

HydraJob = Callable[[list[str]], DictConfig]


@pytest.fixture
def hydra_job() -> Iterator[HydraJob]:
    """Return a function that composes a configuration, and makes this process its job."""

    def start(overrides: list[str]) -> DictConfig:
        config = composed(*overrides, hydra=True)
        config.hydra.job.update(name="train", config_name="config", num=0)
        HydraConfig.instance().set_config(config)
        return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])

    with initialized():
        yield start
    HydraConfig.instance().cfg = None
