"""What a stranger's configuration asks for is refused before Hydra or a task acts on it."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import OmegaConf

from sip.config import guard
from sip.config.cli import conf_folder
from sip.config.yamls import MAX_VALUES, read_yaml
from sip.core.errors import UserError

TOKEN = "hf_" + "a1B2" * 9


def refuse(values: Any, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        guard.check(OmegaConf.create(values))
    assert "\n" not in str(caught.value) and TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"room": {"_target_": "os.system", "command": "true"}},
        {"room": {"_target_": "builtins.eval", "_args_": ["1"]}},
        {"room": {"_target_": "subprocess.Popen", "_partial_": True}},
        {"room": {"_target_": "hydra.utils.get_method", "path": "os.system"}},
        {"room": [{"a": [{"_target_": "os.system"}]}]},
        {"room": {"_target_": "sip.dataset.digits.Digits", "root": {"_target_": "os.system"}}},
        {"room": {"_target_": "sip.config.cli.os.system"}},
        {"room": {"_target_": "${bad}"}, "bad": "os.system"},
        {"room": "${bad}", "bad": {"_target_": "os.${name}"}, "name": "system"},
        {"room": {"_target_": "${oc.decode:os.system}"}},
        {"room": {"_target_": 5}},
        {"room": {"_target_": "functools.partial", "_convert_": "all", "func": "os.system"}},
    ],
)
def test_untrusted_targets_are_refused_at_any_depth(values: dict) -> None:
    refuse(values, r"_target_=.*: expected one of sip\.augmentation\..*; nothing was called")


@pytest.mark.parametrize(
    "values",
    [
        {"callbacks": {"x": {"_target_": "os.system"}}},
        {"callbacks": {"x": "${evil}"}},
        {"sweeper": {"_target_": "subprocess.Popen"}},
        {"sweeper": {"sampler": {"_target_": "builtins.eval"}}},
        {"launcher": {"x": [{"_target_": "os.system"}]}},
        {"job_logging": {"handlers": {"x": {"class": "subprocess.Popen", "args": "true"}}}},
        {"hydra_logging": {"formatters": {"x": {"()": "os.system", "command": "true"}}}},
        {"sweeper": {"custom_search_space": "os.system"}},
    ],
)
def test_hydras_own_part_is_checked(values: dict) -> None:
    whole = {"hydra": values, "evil": {"_target_": "os.system"}}
    with pytest.raises(UserError, match=r"^hydra\..*expected one of .*; nothing was called"):
        guard.check(OmegaConf.create(whole))


@pytest.mark.parametrize(
    "name", ["PATH", "PYTHONPATH", "LD_PRELOAD", "CC", "SIP_TRUSTED", "WANDB_BASE_URL", "OMP_x;y"]
)
def test_a_configuration_cannot_set_what_names_programs_or_places(name: str) -> None:
    values = {"hydra": {"job": {"env_set": {"OMP_NUM_THREADS": "1", name: "elsewhere"}}}}
    refuse(values, rf"hydra\.job\.env_set\.{name}: expected no such variable.*environment itself")


def test_a_configuration_may_set_what_is_harmless() -> None:
    names = ("OMP_NUM_THREADS", "NCCL_DEBUG", "CUDA_VISIBLE_DEVICES", "WANDB_MODE")
    guard.check(OmegaConf.create({"hydra": {"job": {"env_set": dict.fromkeys(names, "1")}}}))


def test_what_the_project_ships_passes() -> None:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        for name in ("config", "tables", "report", "export", "evaluate", "benchmark"):
            guard.check(compose(name, return_hydra_config=True))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"logger": {"entity": TOKEN}}, "logger.entity: a token stands there"),
        ({"a": [{"b": f"https://me:{TOKEN}@hf.co"}]}, "a.0.b: a token"),
        ({"logger": {"api_key": "0123"}}, "logger.api_key: a secret, by its name, stands there"),
        ({"x": "${oc.env:WANDB_API_KEY}"}, "x: the value of WANDB_API_KEY stands there"),
        ({"x": "a/${oc.env:WANDB_API_KEY}/b"}, "x: the value of WANDB_API_KEY"),
        ({"hydra": {"overrides": {"task": [f"x={TOKEN}"]}}}, "hydra.overrides.task.0: a token"),
    ],
)
def test_tokens_are_refused(monkeypatch: pytest.MonkeyPatch, values: Any, words: str) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "f00d" * 10)
    refuse(values, f"{words}.* take it out: hf auth login and wandb login")


def test_what_only_looks_like_one_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN_PATH", "/home/me/.cache/token")
    monkeypatch.setenv("SHORT_TOKEN", "digits")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "not a secret")
    monkeypatch.setenv("HOME_SECRET", "/home/me/somewhere")
    values = {
        "max_tokens": 25,
        "revision": "0123456789abcdef" * 2 + "01234567",
        "dataset": "digits",
    }
    values |= {"label_key": "label", "home": "/home/me/somewhere", "note": "not a secret"}
    guard.check(OmegaConf.create(values | {"token": None, "password": "", "open": "???"}))


def test_an_endless_configuration_is_refused() -> None:
    node: Any = "bottom"
    for _ in range(guard.DEEPEST + 1):
        node = {"a": node}
    refuse(node, "expected 50 levels at most")
    guard.check(OmegaConf.create({"a": {"b": "${a}"}}))  # OmegaConf itself refuses to read it


def test_hydra_asks_before_it_builds_a_callback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        ConfigLoaderImpl, "load_configuration", ConfigLoaderImpl.load_configuration
    )  # put back after the test
    guard.install()
    guard.install()
    (tmp_path / "evil.yaml").write_text(
        "# @package _global_\nhydra:\n  callbacks:\n    x:\n      _target_: os.system\n"
        f"      command: touch {tmp_path}/ran\n"
    )
    search = f"hydra.searchpath=[file://{tmp_path.parent}]"
    with (
        initialize_config_dir(str(conf_folder()), version_base="1.3"),
        pytest.raises(UserError, match="hydra.callbacks.x._target_=os.system: expected one of"),
    ):
        compose("evaluate", [search, f"+{tmp_path.name}=evil"])
    assert not (tmp_path / "ran").exists()


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (bomb(12), f"aliases stand for more than {MAX_VALUES} values"),
        ("a: &a [*a]", "aliases stand for more than"),
        ("a: !!python/object/apply:os.system [true]", "ConstructorError"),
        ("[" * 50_000, "more than 100 levels"),  # libyaml itself kills the process
        ("? [1]\n: 2", "(?s)ConstructorError.*unhashable"),
        ("a: 1\n---\nb: 2", "expected a single document"),
        ("\x00", "special characters are not allowed|ReaderError"),
    ],
    ids=["bomb", "loop", "call", "deep", "key", "two", "nul"],
)
def test_yaml_that_is_larger_than_it_looks_is_refused(
    tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "exp.yaml").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_yaml(tmp_path / "exp.yaml")
    with pytest.raises(UserError, match="exp.yaml: expected a configuration"):
        guard.check_folder(tmp_path)


def test_plain_yaml_and_few_aliases_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: &a [1, 2]\nb: [*a, *a]\nc: {d: null}")
    assert read_yaml(tmp_path / "a.yaml") == {"a": [1, 2], "b": [[1, 2]] * 2, "c": {"d": None}}
    (tmp_path / "empty.yaml").write_text("")
    assert read_yaml(tmp_path / "empty.yaml") is None
    guard.check_folder(tmp_path)
    guard.check_folder(conf_folder())
