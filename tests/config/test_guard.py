"""What a stranger's configuration folder may not contain is refused before Hydra reads it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sip.config.guard import check_folder, check_targets, own_prefixes
from sip.core.errors import UserError
from sip.core.paths import conf_folder

GLOBAL = "# @package _global_\n"
LOGGING = """hydra:
  job_logging:
    version: 1
    handlers: {h: {class: logging.FileHandler, filename: victim, formatter: f}}
    root: {level: NOTSET, handlers: [h]}
"""


def write(folder: Path, text: str, name: str = "exp/x.yaml") -> Path:
    """Write a file of a stranger's folder; return the folder."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("values", "got"),
    [
        ({"a": {"_target_": "os.system", "command": "x"}}, "a._target_=os.system"),
        ({"a": [{"b": {"_target_": "builtins.eval"}}]}, "a.0.b._target_=builtins.eval"),
        ({"_target_": "sip.config.cli.os.system"}, "_target_=sip.config.cli.os.system"),
        ({"_target_": "sip.core.files.write_atomically"}, "_target_=sip.core.files"),
        ({"_target_": "sip.images.__init__.os"}, "_target_=sip.images.__init__.os"),
        ({"_target_": {"a": "os.system"}}, "_target_.a=os.system"),
        ({"_target_": 5}, "_target_=5"),
    ],
)
def test_a_target_must_be_trusted(values: dict[str, Any], got: str) -> None:
    with pytest.raises(UserError, match=r": must be below sip\.augmentation\.,") as caught:
        check_targets({"stage": values})
    assert str(caught.value).startswith(f"stage.{got}") and "\n" not in str(caught.value)
    check_targets({"stage": {"_target_": "${known}"}})  # refused when it is built


@pytest.mark.parametrize(
    "text",
    [
        LOGGING,
        "hydra: {job_logging: {handlers: {h: {stream: 'ext://antigravity.x'}}}}",
        "hydra: {hydra_logging: {formatters: {f: {(): os.system}}}}",
        "hydra: {launcher: {setup: [touch victim]}}",
        "hydra: {launcher: {srun_args: [--x]}}",
        "hydra: {launcher: {partition: a}}",
        "hydra: {callbacks: {x: {_convert_: all}}}",
        "hydra: {job: {env_set: {PATH: x}}}",
        "hydra: {sweeper: {custom_search_space: os.system}}",
        "hydra: {searchpath: [pkg://evil]}",
        "hydra: ${evil}\nevil: {launcher: {setup: [x]}}",
        "hydra: {sweeper: {params: '${evil}'}}",
        "hydra: {sweeper: {params: {hydra.launcher.setup: x}}}",
        "hydra: {sweeper: {params: {+exp@hydra.job_logging: evil}}}",
        "defaults: [override /hydra/launcher: submitit_slurm]",
        "defaults: [/hydra/callbacks: evil]",
        "defaults: [other@hydra.job_logging: evil]",
        "defaults: ['other@${a}: evil']",
        "defaults: {other@hydra.job_logging: evil}",
    ],
)
def test_hydras_own_part_is_left_to_the_command_line(tmp_path: Path, text: str) -> None:
    words = "must set nothing of Hydra's own but hydra.mode, hydra.sweeper.params and numbers"
    with pytest.raises(UserError, match=words) as caught:
        check_folder(write(tmp_path, text))
    assert "\n" not in str(caught.value) and "on the command line" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hydra/launcher/x.yaml", "n_jobs: 2"),
        ("exp/x.yaml", "# @package hydra.job_logging\nversion: 1"),
        ("exp/x.yaml", "# @package hydra.job_logging\ndefaults: [other@_here_]"),
        ("exp/x.yaml", "# @package _global_.hydra.launcher\nsetup: [x]"),
        ("exp/x.yaml", "# @package hydra.sweeper.params\nhydra.launcher.setup: x"),
    ],
)
def test_no_file_can_be_placed_there(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(UserError, match="must set nothing of Hydra's own but"):
        check_folder(write(tmp_path, text, name))


@pytest.mark.parametrize(
    "value",
    [
        "${oc.env:KAGGLE_KEY}",
        "${oc.env:PGPASSWORD,none}",
        "${oc.env:SLURM_JWT}",
        "${oc.env:${name}}",
        "${oc.${e}:KAGGLE_KEY}",
        "$${seed}{oc.env:KAGGLE_KEY}",
        "\\${oc.env:KAGGLE_KEY}",
        "a ${oc.decode:x}",
    ],
)
def test_the_environment_is_not_read(tmp_path: Path, value: str) -> None:
    with pytest.raises(UserError, match="must read only keys and HOME, USER"):
        check_folder(write(tmp_path, f"{GLOBAL}experiment: '{value}'"))


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "- a list",
        "a text",
        "\x00",
        "a: 1\n---\nb: 2",
        "a: !!python/object/apply:os.system [true]",
        "? [1]\n: 2",
        "a: &a [*a]",
        "[" * 9_999,
    ],
)
def test_other_yaml_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match="x.yaml: must be a YAML mapping, got") as caught:
        check_folder(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "exp").symlink_to(tmp_path / "hidden")
    with pytest.raises(UserError, match="exp: must be a folder, got a link"):
        check_folder(tmp_path)


def test_a_misspelt_trusted_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIP_TRUSTED", "yaml, my_captoiner")
    with pytest.raises(UserError, match="names yaml, my_captoiner, of which Python finds no my_ca"):
        check_targets({"captions": {"_target_": "my_captioner.Own"}})
    monkeypatch.delenv("SIP_TRUSTED")
    with pytest.raises(UserError, match="SIP_TRUSTED=my_package$"):
        check_targets({"captions": {"_target_": "my_captioner.Own"}})


def test_what_is_harmless_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIP_TRUSTED", "mine")
    write(
        tmp_path,
        GLOBAL + "defaults: [override /backbone: vit, _self_]\nseed: 1\n"
        "hydra:\n  mode: MULTIRUN\n  launcher: {n_jobs: 2, timeout_min: 60}\n"
        "  sweeper: {params: {seed: 'range(3)', prompts/guidance: linear}}\n"
        "paths: {data: '${oc.env:HOME}/${seed}/${oc.env:SLURM_JOB_ID}'}\n"
        "images: {size: '${oc.select:profile.size,32}'}\n",
    )
    write(tmp_path, "# @package hydra.sweeper.params\nseed: range(3)", "sweep/x.yaml")
    check_targets({"a": {"_target_": "mine.Own"}, "b": {"_target_": "torch.optim.SGD"}})
    write(tmp_path, "_target_: mine.captions.Own\nmodel: ${profile.model}", "captions/own.yaml")
    write(tmp_path, "", "empty.yaml")
    check_folder(tmp_path)


def test_what_the_project_ships_would_pass_as_well(tmp_path: Path) -> None:
    for file in conf_folder().rglob("*.yaml"):
        name = file.relative_to(conf_folder())
        if (
            len(name.parts) > 1
            and "hydra" not in name.parts
            and name.stem not in ("search", "policy")
        ):
            write(tmp_path, file.read_text(), name.as_posix())
    check_folder(tmp_path)


@pytest.mark.parametrize(
    ("value", "prefixes"),
    [(None, ()), ("", ()), ("mine", ("mine.",)), (" mine , other.part,", ("mine.", "other.part."))],
)
def test_names_in_the_environment_become_prefixes(
    monkeypatch: pytest.MonkeyPatch, value: str | None, prefixes: tuple[str, ...]
) -> None:
    monkeypatch.setenv("SIP_TRUSTED", value or "")
    if value is None:
        monkeypatch.delenv("SIP_TRUSTED")
    assert own_prefixes() == prefixes


@pytest.mark.parametrize("value", ["a;b", "a.", "*", "__main__", "a, ../x", "os", "a,os.path"])
def test_other_names_are_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SIP_TRUSTED", value)
    with pytest.raises(UserError, match="SIP_TRUSTED: must be names of your own packages") as error:
        own_prefixes()
    assert "\n" not in str(error.value)


ATTACKS = {
    "logging": GLOBAL + LOGGING,
    "launcher": GLOBAL + "defaults: [override /hydra/launcher: submitit_local]\n"
    "hydra: {mode: MULTIRUN, sweeper: {params: {seed: '0'}}, launcher: {setup: [touch victim]}}",
    "secret": GLOBAL + "experiment: ${oc.env:KAGGLE_KEY}",
}


@pytest.mark.parametrize(
    "option",
    ["--config-dir=an evil", "--config-d=an evil", "hydra.searchpath=[file://{}/an evil]"]
    + ["+hydra.searchpath=['an evil']"],
)
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_ends_in_one_line_and_does_nothing(
    tmp_path: Path, name: str, option: str
) -> None:
    write(tmp_path / "an evil", ATTACKS[name])
    given = option.format(tmp_path)
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "KAGGLE_KEY": "0" * 32}
    command = [sys.executable, "-m", "sip.generate", given, "+exp=x", "plan=true"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "exp/x.yaml: must " in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["an evil"]
