"""The command that installs an extra, from a checkout and from a wheel; which extras there are."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from sip.core import extras
from sip.core.extras import install_extras

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"install_extras\(['\"](\w+)|-e '\.\[([\w,]+)\]'")


def known() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return set(project["optional-dependencies"])


def test_from_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    assert install_extras("onnx") == "pip install -e '.[onnx]'"
    monkeypatch.chdir(tmp_path)
    assert shlex.split(install_extras("heic", "cjk"))[-1] == f"{ROOT}[heic,cjk]"


def test_from_a_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(extras, "PACKAGE", tmp_path / "sip")
    needs = ["torch<3", 'peft<1,>=0.18; extra == "lora"', 'onnx<2; extra == "onnx"']
    monkeypatch.setattr(extras.metadata, "requires", lambda name: needs)
    assert shlex.split(install_extras("lora"))[2:] == ["peft<1,>=0.18"]


def test_extras_named_in_code_and_texts_exist() -> None:
    files = [
        *(file for folder in ("sip", "docs", "conf") for file in (ROOT / folder).rglob("*.*")),
        ROOT / "README.md",
    ]
    texts = [f.read_text() for f in files if f.suffix in (".py", ".md", ".yaml")]
    named = {
        name
        for text in texts
        for match in NAMED.findall(text)
        for name in "".join(match).split(",")
    }
    assert len(named) > 6 and named <= known()
    assert not [text for text in texts if "sip-augmentation[" in text]  # it is on no index yet


def test_one_table_explains_them_all() -> None:
    section = (ROOT / "docs" / "install.md").read_text().partition("## Extras")[2]
    rows = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    explained = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert explained == known()
