"""The wheel holds what the programs read and nothing else, and works from any folder."""

import contextlib
import importlib
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

hatchling = pytest.importorskip("hatchling.build", reason="pip install '.[test]' brings hatchling")

ROOT = Path(__file__).parents[1]
MAX_BYTES = 16e6  # the miniature weights are nearly all of it
JOBS = (
    "train",
    "generate",
    "export",
    "tables",
    "report",
    "benchmark",
    "evaluate",
    "predict",
    "doctor",
    "studio",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it."""
    folder = tmp_path_factory.mktemp("wheel")
    with contextlib.chdir(ROOT):  # where the build backend looks for pyproject.toml
        return folder / hatchling.build_wheel(str(folder))


@pytest.fixture(scope="module")
def unpacked(wheel: Path) -> Path:
    """Unpack it, as pip does."""
    folder = wheel.parent / "site-packages"
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder)
    return folder


def files(folder: Path) -> set[str]:
    """Return the files below a folder, without what Python caches."""
    found = (
        path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )
    return {path.relative_to(folder).as_posix() for path in found}


def test_it_holds_the_package_and_the_configurations(wheel: Path, unpacked: Path) -> None:
    expected = {f"sip/{name}" for name in files(ROOT / "sip")}
    expected |= {f"sip/conf/{name}" for name in files(ROOT / "conf")}
    info = next(unpacked.glob("*.dist-info")).name
    packed = {name for name in files(unpacked) if not name.startswith(info)}
    assert packed == expected
    assert (unpacked / info / "licenses" / "LICENSE").is_file()
    for name in ("diffusion/unet/diffusion_pytorch_model", "captioner/model", "clip_vit/model"):
        inside = f"sip/miniature/{name}.safetensors"
        assert (unpacked / inside).read_bytes() == (ROOT / inside).read_bytes()
    assert wheel.stat().st_size < MAX_BYTES


@pytest.mark.slow
def test_indexes_take_wheel_and_source(
    wheel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check = pytest.importorskip("twine.commands.check", reason="pip install '.[dev]' brings twine")
    with contextlib.chdir(ROOT):
        source = tmp_path / hatchling.build_sdist(str(tmp_path))
    assert not check.check([str(wheel), str(source)], strict=True), capsys.readouterr().out
    with tarfile.open(source) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    packed = {f"sip/{name}" for name in files(ROOT / "sip")}
    packed |= {f"conf/{name}" for name in files(ROOT / "conf")}
    assert packed | {"pyproject.toml", "LICENSE", "README.md", "constraints.txt"} <= names


def test_every_extra_is_in_the_table_with_its_command() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "docs" / "install.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| `(pip install .+)` \|$", text, re.MULTILINE)
    assert [name for name, _, _ in rows] == list(project["optional-dependencies"])
    assert [command for _, _, command in rows] == [
        f"pip install -e '.[{name}]'" for name, _, _ in rows
    ]


def test_the_oldest_versions_are_the_lower_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = list(project["dependencies"])
    for extra, more in project["optional-dependencies"].items():
        texts += more if extra != "dev" else []
    needed = [one for one in map(Requirement, texts) if one.name != project["name"]]
    lower = {r.name: Version(s.version) for r in needed for s in r.specifier if s.operator == ">="}
    lines = (ROOT / "constraints-oldest.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert {name: Version(pins[name]) for name in lower} == lower
    newest = (ROOT / "constraints.txt").read_text().splitlines()
    for requirement in needed:
        (pin,) = [pin for pin in newest if pin.lower().startswith(f"{requirement.name}==")]
        assert requirement.specifier.contains(pin.partition("==")[2]), pin


def test_every_job_is_a_console_script(unpacked: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    jobs = {f"sip-{name}" for name in (*JOBS, "adapt", "schema", "stack", "store", "weights")}
    assert set(project["scripts"]) == {"sip", *jobs}
    for target in project["scripts"].values():
        module, _, function = target.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_it_reads_its_own_configurations_from_any_folder(unpacked: Path, tmp_path: Path) -> None:
    code = "import sip.core.paths, sip.weights.source as w; print(sip.core.paths.conf_folder()); "
    code += "print(w.resolve('sip/miniature/scorer'))"
    env = os.environ | {"PYTHONPATH": str(unpacked)}
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    inside = unpacked.resolve() / "sip"
    assert done.stdout.split() == [str(inside / "conf"), str(inside / "miniature" / "scorer")]


def test_a_job_runs_with_a_folder_of_ones_own(unpacked: Path, tmp_path: Path) -> None:
    own = tmp_path / "conf"
    for name, text in {
        "dataset/mine": "defaults:\n  - image_folder\n  - _self_\nroot: /my/images",
        "exp/mine": "# @package _global_\ndefaults:\n  - override /dataset: mine\nseed: 5",
    }.items():
        file = own / f"{name}.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(text)
    env = os.environ | {"PYTHONPATH": str(unpacked)}
    run = [sys.executable, "-m", "sip.generate", "--config-dir", "conf", "+exp=mine"]
    done = subprocess.run(
        [*run, "--cfg", "job"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "_target_: sip.dataset.image_folder.ImageFolder\n  root: /my/images" in done.stdout
    assert "\nseed: 5\n" in done.stdout


@pytest.mark.parametrize("shell", ["bash"])
def test_the_shell_completes_groups_choices_and_keys(shell: str, tmp_path: Path) -> None:
    def completed(line: str) -> set[str]:
        env = os.environ | {
            "PYTHONPATH": str(ROOT),
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
        }
        script = "import sys; sys.argv[0] = 'sip-train'; from sip.train import main; main()"
        run = [sys.executable, "-c", script, "-sc", f"query={shell}"]
        done = subprocess.run(
            run, cwd=tmp_path, env=env, capture_output=True, text=True, check=True
        )
        return set(done.stdout.split())

    assert completed("sip-train backbone=v") == {"backbone=vit"}
    assert {"prompts.noise_rate=", "prompts.guidance."} <= completed("sip-train prompts.")
