"""Settings of the device and of several devices: what no machine could have is refused."""

import pytest

from sip.core.errors import UserError
from sip.device.launch import check, num_processes, several
from sip.device.settings import Runtime


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"attention": "fast"}, "runtime.attention: expected one of auto, math, .* came 'fast'"),
        ({"num_workers": 0}, "runtime.num_workers: expected 1 or more, came 0"),
        ({"num_threads": -1}, "runtime.num_threads: expected null, or 1 or more, came -1"),
        ({"compile": "yes"}, "runtime.compile: expected true or false, came 'yes'"),
    ],
)
def test_wrong_device_settings(changes: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Runtime.cpu(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"devices": 0}, "trainer.devices: expected a number >= 1 or auto, came 0"),
        ({"devices": "abc"}, "trainer.devices: .* came 'abc'"),
        ({"devices": [0, 1]}, r"trainer.devices: .* came \[0, 1\]"),
        ({"num_nodes": "two"}, "trainer.num_nodes: expected a number >= 1, came 'two'"),
        ({"strategy": "ddp_spawn"}, "trainer.strategy: expected one of auto, ddp, came 'ddp_spa"),
    ],
)
def test_wrong_settings_of_several_devices(changes: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        check({"devices": 1, "num_nodes": 1, "strategy": "auto"} | changes)


def test_the_number_of_processes() -> None:
    one = {"devices": 1, "num_nodes": 1, "strategy": "auto"}
    assert not several(one) and num_processes(one, "cpu") == 1
    many = one | {"devices": 8, "num_nodes": 4, "strategy": "ddp"}
    assert several(many) and num_processes(many, "cuda") == 32
    assert num_processes(one | {"devices": "auto"}, "cpu") == 1
