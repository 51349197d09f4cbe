"""Plug-ins: what pip installed by name is read and trusted, and nothing more."""

from pathlib import Path

import pytest

from sip.config import plugins
from sip.config.command import Command
from sip.config.guard import check_targets, is_trusted
from sip.core.errors import UserError
from sip.core.paths import conf_folder

CHOICE = "_target_: sip_toy.captions.Toy\nsize: 1\n"


def install(site: Path, value: str = "sip_toy", requested: bool = True) -> None:
    """Write a distribution as pip does."""
    files = {
        "sip_toy/__init__.py": "raise RuntimeError('it was imported')\n",
        "sip_toy/conf/captions/toy.yaml": CHOICE,
        "toy-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: toy\nVersion: 1\n",
        "toy-1.dist-info/entry_points.txt": f"[{plugins.GROUP}]\ntoy = {value}\n",
        "toy-1.dist-info/RECORD": "sip_toy/__init__.py,,\nsip_toy/conf/captions/toy.yaml,,\n",
    }
    if requested:
        files["toy-1.dist-info/REQUESTED"] = ""
    for name, text in files.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)


def test_what_was_installed_by_name_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    assert not is_trusted("sip_toy.captions.Toy")
    install(site := tmp_path / "site")
    monkeypatch.syspath_prepend(site)
    (plugin,) = plugins.plugins()
    assert (plugin.name, plugin.module, plugin.conf) == ("toy", "sip_toy", site / "sip_toy/conf")
    assert is_trusted("sip_toy.captions.Toy")
    for other in ("sip_toy", "sip_toys.Toy", "sip_toy_more.Toy", "toy.Toy", "os.system"):
        assert not is_trusted(other), other
    check_targets({"captions": {"_target_": "sip_toy.captions.Toy"}})


def test_its_choices_are_known_and_held_to_the_rules_of_a_foreign_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    command = Command(conf_folder(), "config", ["captions=toy"])
    command.check()
    assert "toy" in {path.stem for group, path in command._files() if group == "captions"}
    bad = tmp_path / "sip_toy/conf/captions/toy.yaml"
    bad.write_text(CHOICE + "secret: ${oc.env:TOKEN}\n")
    with pytest.raises(UserError, match="toy.yaml: must read only keys"):
        command.check()


def test_what_was_installed_as_a_dependency_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, requested=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert plugins.plugins() == () and not is_trusted("sip_toy.captions.Toy")
    assert plugins.folders() == []


@pytest.mark.parametrize("value", ["torch", "os", "sip_toy.captions", "sip_toy:Toy", "sip"])
def test_a_module_of_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    install(tmp_path, value)
    monkeypatch.syspath_prepend(tmp_path)
    words = "sip.plugins: must be a top-level module of toy itself, got toy = .*; fix its entry"
    with pytest.raises(UserError, match=words) as caught:
        is_trusted("sip_toy.captions.Toy")
    assert "\n" not in str(caught.value)
    assert is_trusted("sip.captions.blip.Blip")  # what needs no plug-in still works
