"""Only what is trusted is built, at any depth and by any path."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from sip.config.build import build
from sip.config.guard import TRUSTED
from sip.core.errors import UserError
from sip.metrics import base


@dataclass
class Toy:
    """Stands for a component."""

    size: int
    inner: Any = None


class Refuse:
    """Refuses any value, as a constructor may."""

    def __init__(self, size: int) -> None:
        raise UserError(f"size={size} should be even")


@dataclass
class Strict:
    """Expects a number above 0, and fails otherwise as constructors of others do."""

    size: Any

    def __post_init__(self) -> None:
        if self.size <= 0:
            raise ValueError("math\ndomain error")


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the toys into a module of the package."""
    for toy in (Toy, Refuse, Strict):
        monkeypatch.setattr(toy, "__module__", "sip.metrics.base")
        monkeypatch.setattr(base, toy.__name__, toy, raising=False)


TOY = {"_target_": "sip.metrics.base.Toy", "size": 1}
REFUSE = {"_target_": "sip.metrics.base.Refuse", "size": 3}

UNTRUSTED = [
    "os.system",
    "builtins.eval",
    "subprocess.Popen",
    "functools.partial",
    "hydra.utils.get_method",
    "hydra.utils.instantiate",
    "sipos.system",
    "sip",
    "sip.config.build.importlib.import_module",
    "sip.config.build.inspect.os.system",
    "sip.config.build.instantiate",
    "sip.config.build.partial",
    "sip.config.guard.TRUSTED",
    "sip.core.files.write_atomically",  # ours, but it writes any file
    "sip.dataset.files.write_atomically",
    "sip.dataset.files.Path",
    "sip.dataset.reader.Sample.__init__.__globals__",
    "sip.metrics.base.Toy.__init__.__globals__",
    "sip.metrics.base.Toy.__subclasses__",
    "sip.metrics.base.Toy.__class__",
    "timm.models.load_state_dict",  # opens pickles
    "timm.models.helpers.load_checkpoint",
    "torchvision.transforms.functional.torch.load",
    "torch.optim.optimizer.torch.load",
    "torch.load",
    "torch.optim.lr_scheduler.warnings.warn",
    "sip..build",
    "sip.metrics.base.Toy()",
    "sip.metrics.base.Toy\n",
    "",
    None,
    5,
    ["os.system"],
]


@pytest.mark.parametrize("target", UNTRUSTED)
def test_other_targets_are_refused(target: Any) -> None:
    with pytest.raises(UserError, match="_target_ .*torch.optim.*nothing was called"):
        build({"_target_": target})


@pytest.mark.parametrize(
    "wrap",
    [
        lambda bad: TOY | {"inner": bad},
        lambda bad: TOY | {"inner": [1, {"deep": [bad]}]},
        lambda bad: TOY | {"_args_": [bad]},
        lambda bad: [TOY, bad],
        lambda bad: {"a": {"b": bad}},
        lambda bad: TOY | {"inner": TOY | {"_recursive_": False, "inner": bad}},
        lambda bad: TOY | {"inner": bad | {"_convert_": "none"}},
    ],
)
@pytest.mark.parametrize("target", ["os.system", "sip.config.build.importlib.import_module"])
def test_they_are_refused_at_any_depth(wrap: Any, target: str) -> None:
    bad = {"_target_": target, "_args_": ["true"]}
    for config in (wrap(bad), OmegaConf.create({"x": wrap(bad)}).x):
        with pytest.raises(UserError, match="nothing was called"):
            build(config)


def test_no_untrusted_module_is_imported() -> None:
    code = (
        "import sys; from sip.config.build import build\n"
        "try: build({'_target_': 'antigravity.fly'})\n"
        "except Exception as error: print(type(error).__name__, 'antigravity' in sys.modules,"
        " 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["UntrustedError", "False", "False"]


@pytest.mark.parametrize("text", ["'\\${oc.create:{_target_: os.system}}'", "['\\${oc.env:HOME}']"])
def test_escaped_interpolations_are_refused(text: str) -> None:
    config = OmegaConf.create(f"_target_: sip.metrics.base.Toy\nsize: 1\ninner: {text}")
    with pytest.raises(UserError, match="inner.*: must be a value without"):
        build(config)


def test_interpolations_are_followed() -> None:
    config = OmegaConf.create({"bad": "os.system", "a": {"_target_": "${bad}"}, "n": 3})
    with pytest.raises(UserError, match="_target_ os.system"):
        build(config.a)
    config.a = {"_target_": "sip.metrics.base.Toy", "size": "${n}"}
    assert build(config.a) == Toy(3)


def test_nested_nodes_become_objects_and_plain_containers() -> None:
    built = build(OmegaConf.create(TOY | {"inner": [TOY, {"a": TOY, "b": [1, 2]}]}))
    assert built == Toy(1, [Toy(1), {"a": Toy(1), "b": [1, 2]}])
    assert type(built.inner) is list and type(built.inner[1]) is dict
    assert build(None) is None
    assert build([TOY, 5]) == [Toy(1), 5]


def test_further_arguments_pass_as_they_are() -> None:
    given = Toy(7, [object()])
    built = build(OmegaConf.create({"_target_": "sip.metrics.base.Toy", "size": 1}), inner=given)
    assert built.inner is given


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TOY | {"_partial_": True}, "sip.metrics.base.Toy: unknown _partial_"),
        (TOY | {"sise": 2}, "sip.metrics.base.Toy: unknown sise; it takes: size, inner"),
        ({"_target_": "sip.metrics.base.Toy"}, "sip.metrics.base.Toy: needs a value for size"),
        ({"_target_": "sip.metrics.base.Toi"}, "sip.metrics.base has no Toi; did you mean Toy?"),
        ({"_target_": "sip.metrics.bases.Toy"}, "sip.metrics has no bases; did you mean base?"),
        ({"_target_": "sip.metrics.base"}, "must be a class, got a module"),
        (REFUSE, "size=3 should be even"),
        (
            TOY | {"inner": {"_target_": "sip.metrics.base.Refuse", "size": 3}},
            "size=3 should be even",
        ),
        (
            {"_target_": "sip.metrics.base.Strict", "size": 0},
            "ValueError: math domain error; give",
        ),
        ({"_target_": "sip.metrics.base.Strict", "size": "x"}, "base.Strict: must be values that"),
        ({"_target_": "sip.metrics.base.Strict", "size": 1, 5: 1, "x": 2}, "unknown 5, x"),
    ],
)
def test_mistakes_are_one_line(config: dict, message: str) -> None:
    with pytest.raises(UserError) as error:
        build(config)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_every_trusted_package_can_be_used() -> None:
    assert all(prefix.endswith(".") for prefix in TRUSTED)
    for node in (
        {"_target_": "torch.optim.SGD", "params": [torch.zeros(1)], "lr": 1.0},
        {"_target_": "torchvision.transforms.v2.RandAugment"},
        {"_target_": "sip.prompts.guidance.constant.Constant", "scale": 2.0},
        {"_target_": "pytorch_lightning.loggers.CSVLogger", "save_dir": "x"},
    ):
        package, _, name = node["_target_"].rpartition(".")
        built = type(build(node))
        assert built.__name__ == name and built.__module__.startswith(package)


def test_a_refused_value_names_its_key_as_one_types_it() -> None:
    node = {"_target_": "sip.prompts.guidance.constant.Constant", "scale": float("nan")}
    with pytest.raises(UserError) as error:
        build(OmegaConf.create({"prompts": {"guidance": node}}).prompts)
    assert str(error.value) == "prompts.guidance.scale: must be a number >= 0, got nan"


@pytest.mark.parametrize(
    ("source", "key"), [("mixing.p", "mixing.p"), ("profile.p", "augmentation.offline.p")]
)
def test_a_value_of_another_key_is_named_by_that_key(source: str, key: str) -> None:
    node = {"_target_": "sip.augmentation.offline.generated.GeneratedMode", "mode": "replace"}
    node |= {"p": f"${{{source}}}", "weight": 0.5, "ratio": None}
    values = {"p": 2.0}
    config = {"mixing": values, "profile": values, "augmentation": {"offline": node}}
    with pytest.raises(UserError, match=rf"^{key}: must be in \[0, 1\], got 2.0$"):
        build(OmegaConf.create(config).augmentation)


OWN = """
import os
from sip.core.errors import UserError

class Mine:
    def __init__(self, size): self.size = size
"""


@pytest.fixture
def own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the module `sip_test_own` of a user within reach."""
    (tmp_path / "sip_test_own.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("sip_test_own", None)


MINE = {"_target_": "sip_test_own.Mine", "size": 3}


def test_own_code_is_built_once_the_environment_names_it(
    own_package: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="nothing was called.*SIP_TRUSTED=my_package"):
        build(MINE)
    assert "sip_test_own" not in sys.modules
    monkeypatch.setenv("SIP_TRUSTED", "another, sip_test_own")
    assert build(OmegaConf.create({"x": MINE}).x).size == 3


@pytest.mark.parametrize("target", ["sip_test_own.os.system", "sip_test_own.os", "os.getcwd"])
def test_what_own_code_imports_is_not_trusted_with_it(
    own_package: None, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.setenv("SIP_TRUSTED", "sip_test_own")
    with pytest.raises(UserError, match="nothing was called"):
        build({"_target_": target})


def test_own_code_out_of_reach_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIP_TRUSTED", "sip_test_nowhere")
    with pytest.raises(UserError, match="No module named 'sip_test_nowhere'; install it, or put"):
        build({"_target_": "sip_test_nowhere.Mine"})
