"""Settings of the device and of several devices: what no machine could have is refused."""

import pytest

from sip.core.errors import UserError
from sip.device.settings import Devices, Runtime, absent

NODE = {
    "device": "cpu",
    "num_threads": None,
    "num_workers": 2,
    "channels_last": False,
    "compile": False,
    "attention": "auto",
    "tf32": False,
    "vae_slicing": False,
    "batch_size": {"captions": 32, "scores": "auto", "images": 25},
    "shard_size": 512,
    "memory_gib": "auto",  # of the classifier
}


def test_settings_of_a_node() -> None:
    runtime = Runtime.of(NODE)
    assert runtime.batch_size.scores == "auto" and runtime.shard_size == 512
    assert Runtime.cpu(num_threads=1).num_threads == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"attention": "fast"}, "runtime.attention: must be one of auto, math, .*, got 'fast'"),
        ({"num_workers": 0}, "runtime.num_workers: must be a whole number >= 1, got 0"),
        ({"num_threads": -1}, "runtime.num_threads: must be a whole number >= 1 or null, got -1"),
        (
            {"compile": "yes"},
            "runtime.compile: must be true or false or one of blocks, graphs, got 'yes'",
        ),
        ({"shard_size": 0}, "runtime.shard_size: must be a whole number >= 1, got 0"),
        ({"device": "gpu7"}, "runtime.device: must be auto, cpu, cuda or cuda:0 .*, got 'gpu7'"),
        ({"device": "mps"}, "runtime.device: must be auto, cpu, cuda or cuda:0 .*, got 'mps'"),
        ({"device": "meta"}, "runtime.device: must be auto, cpu, cuda or cuda:0 .*, got 'meta'"),
        ({"device": 0}, "runtime.device: must be auto, cpu, cuda or cuda:0 .*, got 0"),
        (
            {"batch_size": {"captions": 1, "scores": 1, "images": "abc"}},
            "runtime.batch_size.images: must be a whole number >= 1 or auto, got 'abc'",
        ),
    ],
)
def test_wrong_device_settings(changes: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Runtime.of(NODE | changes)


def test_a_gpu_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert Runtime.of(NODE | {"device": "cuda:1"}).device == "cuda:1"
    words = "runtime.device: must be a device that torch sees, got 'cuda:2'; .* sees 2 GPUs: they"
    with pytest.raises(UserError, match=words):
        Runtime.of(NODE | {"device": "cuda:2"})
    assert [absent(choice) for choice in ("cuda:1", "cuda:2", "cuda:x")] == [False, True, False]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"devices": 0}, "trainer.devices: must be a whole number >= 1 or auto, got 0"),
        ({"devices": "abc"}, "trainer.devices: .* got 'abc'"),
        ({"devices": [0, 1]}, r"trainer.devices: .* got \[0, 1\]"),
        ({"num_nodes": "two"}, "trainer.num_nodes: must be a whole number >= 1, got 'two'"),
        ({"strategy": "ddp_spawn"}, "trainer.strategy: must be one of auto, ddp, got 'ddp_spawn'"),
    ],
)
def test_wrong_settings_of_several_devices(changes: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Devices.of({"devices": 1, "num_nodes": 1, "strategy": "auto"} | changes)


def test_the_number_of_processes() -> None:
    assert not Devices().several and Devices().num_processes("cpu") == 1
    many = Devices(8, 4, "ddp")
    assert many.several and many.num_processes("cuda") == 32
    assert Devices("auto").several and Devices("auto").num_processes("cpu") == 1
