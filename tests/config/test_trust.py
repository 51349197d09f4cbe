"""Which packages of their own a user may name, and which names are refused."""

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from sip.config.trust import own_prefixes
from sip.core.errors import UserError


@pytest.mark.parametrize(
    ("value", "prefixes"),
    [
        (None, ()),
        ("", ()),
        ("mine", ("mine.",)),
        (" mine , other.part,", ("mine.", "other.part.")),
    ],
)
def test_names_become_prefixes(
    monkeypatch: pytest.MonkeyPatch, value: str | None, prefixes: tuple[str, ...]
) -> None:
    if value is None:
        monkeypatch.delenv("SIP_TRUSTED", raising=False)
    else:
        monkeypatch.setenv("SIP_TRUSTED", value)
    assert own_prefixes() == prefixes


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("mine;other", "expected names of your packages with commas between them.*'mine;other'"),
        ("mine.", "expected names of your packages"),
        ("*", "expected names of your packages"),
        ("__main__", "expected names of your packages"),
        ("mine, ../x", "expected names of your packages"),
        ("os", "expected packages of your own, came 'os', which is Python's"),
        ("mine,os.path", "expected packages of your own, came 'os.path'"),
        ("builtins", "which is Python's"),
        ("subprocess", "which is Python's"),
    ],
)
def test_other_names_are_refused(monkeypatch: pytest.MonkeyPatch, value: str, message: str) -> None:
    monkeypatch.setenv("SIP_TRUSTED", value)
    with pytest.raises(UserError, match=message) as error:
        own_prefixes()
    assert "\n" not in str(error.value)


def test_no_configuration_can_say_whom_to_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    job = {"hydra": {"job": {"env_set": {"SIP_TRUSTED": "mine"}}}}
    monkeypatch.setattr(HydraConfig.instance(), "cfg", OmegaConf.create(job))
    monkeypatch.setenv("SIP_TRUSTED", "mine")  # as Hydra leaves it
    with pytest.raises(UserError, match="hydra.job.env_set: expected no SIP_TRUSTED"):
        own_prefixes()
    job["hydra"]["job"]["env_set"] = {"OMP_NUM_THREADS": "1"}
    monkeypatch.setattr(HydraConfig.instance(), "cfg", OmegaConf.create(job))
    assert own_prefixes() == ("mine.",)
