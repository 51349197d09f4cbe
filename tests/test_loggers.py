"""W&B is checked before the work, and is not needed."""

from pathlib import Path

import pytest
import wandb
from omegaconf import OmegaConf
from pytorch_lightning.loggers import CSVLogger

from sip.common.errors import UserError
from sip.loggers import make_loggers, require_logger


def node(**values: object):
    return OmegaConf.create(
        {"wandb": True, "mode": "offline", "project": "p", "entity": None} | values
    )


def test_online_without_login_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb, "login", lambda prompt: False)
    with pytest.raises(UserError, match="run `wandb login`, or leave logger.mode=offline"):
        require_logger(node(mode="online"))


def test_unknown_mode_is_refused() -> None:
    with pytest.raises(UserError, match="expected offline or online, got 'on'"):
        require_logger(node(mode="on"))


def test_csv_needs_no_wandb(tmp_path: Path) -> None:
    config = OmegaConf.create({"wandb": False})
    require_logger(config)
    loggers = make_loggers(config, tmp_path, run_id="r", name="n", group=None, values={})
    assert [type(logger) for logger in loggers] == [CSVLogger]
