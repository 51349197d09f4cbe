"""The Dockerfile passes hadolint, and its build gets what the wheel needs. No image is built."""

import contextlib
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "Dockerfile"
HADOLINT = shutil.which("hadolint", path=Path(sys.executable).parent) or shutil.which("hadolint")


@pytest.mark.skipif(HADOLINT is None, reason="pip install '.[dev]' brings hadolint")
def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(
        [str(HADOLINT), "--no-color", str(DOCKERFILE)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_it_starts_a_program_as_a_user_without_rights() -> None:
    text = DOCKERFILE.read_text()
    (entry,) = json.loads(re.findall(r"^ENTRYPOINT (.+)$", text, re.MULTILINE)[0])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert entry in project["scripts"]
    assert re.findall(r"^USER (\w+)$", text, re.MULTILINE) == ["10001"]


def test_the_build_gets_no_data_and_no_login() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == {
        *("sip", "conf", "pyproject.toml", "constraints.txt", "README.md", "LICENSE"),
    }


@pytest.mark.slow
def test_the_wheel_is_built_of_what_the_build_gets(tmp_path: Path) -> None:
    hatchling = pytest.importorskip("hatchling.build", reason="pip install '.[test]' brings it")
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    source = tmp_path / "src"
    source.mkdir()
    for name in (line[1:] for line in lines if line.startswith("!")):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    packed = []
    for folder in (ROOT, source):
        with contextlib.chdir(folder):
            wheel = hatchling.build_wheel(str(tmp_path))
        with zipfile.ZipFile(tmp_path / wheel) as file:
            packed.append({(item.filename, item.CRC) for item in file.infolist()})
    assert packed[0] == packed[1]
