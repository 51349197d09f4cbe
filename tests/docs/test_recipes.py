"""The recipes for own code do what their pages say: files written, tests and commands run."""

import importlib
import json
import runpy
import shlex
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sip.images.families import families
from tests.docs.pages import DOCS, Block, blocks

# To make the pages' commands short; what they are about is not touched.
SHORT = {
    "sip.generate": ["metrics=[]", "runtime.num_threads=1"],
    "sip.train": [
        *("classifier.steps=2", "classifier.val_every=2", "classifier.warmup_steps=1"),
        *("dataset.shots=2", "metrics=[]", "logger=csv", "runtime.num_threads=1"),
        *("backbone=resnet_mini", "train.baseline=false"),
    ],
}
GENERATED = ["images.num_steps=2"]
OWN = ("my_", "test_my_", "sip_tiles", "test_sip_tiles")  # modules of the pages
FEWER = {"seed=0,1,2": "seed=0"}  # jobs of a sweep


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return an empty folder that one stands in, as `python -m` would see it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # the command line sets it
    monkeypatch.setenv("SIP_SWEEP", "")
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and name.startswith(OWN):
            del sys.modules[name]


def follow(page: str, monkeypatch: pytest.MonkeyPatch, more: list[str]) -> None:
    """Write the page's files, run its tests, then its commands, in the folder one stands in."""
    found = blocks(DOCS / "extend" / page)
    for block in found:
        if block.title:
            Path(block.title).parent.mkdir(parents=True, exist_ok=True)
            Path(block.title).write_text(block.text)
    scripts = [block.text for block in found if block.language == "console"]
    lines = [line for text in scripts for line in text.replace("\\\n", " ").splitlines()]
    plain = [line for line in lines if line.startswith("python ") and " -m " not in line]
    for line in plain:
        runpy.run_path(line.split()[1])
    tests = [block.title for block in found if Path(block.title or "").name.startswith("test_")]
    assert tests and lines
    for name in tests:
        run_tests(Path(str(name)).stem)
    for line in lines:
        if line not in plain:
            run_command(line, monkeypatch, more)


def run_tests(name: str) -> None:
    """Run the test functions of a module."""
    functions = [value for key, value in vars(importlib.import_module(name)).items()
                 if key.startswith("test_")]  # fmt: skip
    assert functions
    for function in functions:
        function()


def run_command(line: str, monkeypatch: pytest.MonkeyPatch, more: list[str]) -> None:
    """Run a line of the page in this process."""
    words = shlex.split(line)
    monkeypatch.delenv("SIP_TRUSTED", raising=False)
    while "=" in words[0]:
        monkeypatch.setenv(*words.pop(0).split("=", 1))
    words = [FEWER.get(word, word) for word in words]
    assert words[:2] == ["python", "-m"]
    module, short = words[2], SHORT.get(words[2], [])
    added = [*short, *more] if short else []
    given = {word.partition("=")[0] for word in words}
    added = [word for word in added if word.partition("=")[0] not in given]
    monkeypatch.setattr(sys, "argv", [module, *words[3:], *added])
    program = importlib.import_module(module)
    if hasattr(program, "__path__"):
        program = importlib.import_module(f"{module}.__main__")
    with pytest.raises(SystemExit) as stop:
        program.main()
    assert stop.value.code == 0, line


def summaries() -> list[dict]:
    """Return the summaries of the runs in the folder one stands in."""
    return [json.loads(file.read_text()) for file in sorted(Path("runs").glob("*/summary.json"))]


def test_a_captioner(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follow("captioner.md", monkeypatch, GENERATED)
    (file,) = Path("runs").glob("generate-digits-*/images.parquet")
    generated = pd.read_parquet(file).query("kind == 'generated'")
    assert len(generated) == 10
    assert generated.caption.str.fullmatch(r"a (dark|grey|bright) photo of a \w+").all()


def test_a_guidance_rule(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    follow("guidance.md", monkeypatch, [*GENERATED, "train.leaks=false"])
    (file,) = Path("runs").glob("generate-digits-*/images.parquet")
    rows = pd.read_parquet(file).query("kind == 'generated'")
    expected = 1 + 6 / (1 + np.exp((0.25 - rows.similarity.astype(float)) / 0.03))
    assert rows.guidance_scale.tolist() == pytest.approx(expected.tolist(), abs=1e-3)
    assert len(summaries()) == 4  # of the generation, and one for each rule
    table = capsys.readouterr().out.rpartition("Arms")[2]
    assert all(rule in table for rule in ("quadratic", "sigmoid", "constant"))


def test_a_generator(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follow("generator.md", monkeypatch, [])
    (summary,) = summaries()
    assert (summary["images"], summary["num_generated"]) == ("pixel_noise", 10)
    assert summary["recipe"]["offline"]["images"]["class"] == "my_generator.PixelNoise"
    assert summary["unet_evaluations"] == 10


def test_a_family(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = install(blocks(DOCS / "extend" / "family.md"), folder / "site", "sip-tiles")
    monkeypatch.syspath_prepend(site)
    follow("family.md", monkeypatch, GENERATED)
    (summary,) = summaries()
    assert (summary["images"], summary["num_generated"]) == ("tiles", 10)
    family = importlib.import_module("sip_tiles").Tiles
    assert families()["StableDiffusionPanoramaPipeline"] is family


def install(page: Sequence[Block], site: Path, name: str) -> Path:
    """Put a page's distribution into a folder as pip would install it; return the folder."""
    texts = {Path(str(block.title)).relative_to(name): block.text
             for block in page if (block.title or "").startswith(f"{name}/")}  # fmt: skip
    project = tomllib.loads(texts.pop(Path("pyproject.toml")))
    (points,) = project["project"]["entry-points"].items()
    info = Path(f"{name.replace('-', '_')}-{project['project']['version']}.dist-info")
    texts |= {
        info / "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n",
        info / "RECORD": "".join(f"{file},,\n" for file in texts),
        info / "REQUESTED": "",
        info / "entry_points.txt": f"[{points[0]}]\n"
        + "".join(f"{key} = {value}\n" for key, value in points[1].items()),
    }
    for file, text in texts.items():
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        (site / file).write_text(text)
    return site


def test_a_baseline(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    follow("baseline.md", monkeypatch, [*GENERATED, "train.leaks=false"])
    arms = {summary["augmentation"]: summary for summary in summaries()}
    assert {arm: found["num_generated"] for arm, found in arms.items()} == {
        "none": 0, "solarize": 0, "sip_solarize": 20,
    }  # fmt: skip
    sample = arms["solarize"]["recipe"]["augmentation"]["sample"]
    assert sample == {
        "class": "my_solarize.Solarize", "version": 1, "prob": 0.5, "threshold": 128,
    }  # fmt: skip
    table = capsys.readouterr().out.rpartition("Arms")[2]
    assert "sip_solarize" in table and "What is missing" not in table


def test_a_data_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follow("dataset.md", monkeypatch, [])
    found = {summary["dataset"]: summary for summary in summaries()}
    assert {name: one["num_test"] for name, one in found.items()} == {"shapes": 8, "csv_shapes": 10}
    for summary in found.values():
        assert summary["num_real"] == 4 and summary["leaks"].keys() == {"val", "test"}


def test_nothing_of_it_runs_without_trust(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("my_captioner.py").write_text("raise RuntimeError('it was imported')\n")
    Path("conf/captions").mkdir(parents=True)
    Path("conf/captions/bad.yaml").write_text("_target_: my_captioner.Brightness\n")
    monkeypatch.delenv("SIP_TRUSTED", raising=False)
    arguments = ["--config-dir", "conf", "captions=bad", "dataset.shots=1"]
    monkeypatch.setattr(sys, "argv", ["sip.generate", *arguments])
    with pytest.raises(SystemExit) as stop:
        importlib.import_module("sip.generate").main()
    said = capsys.readouterr().err
    assert stop.value.code == 2 and said.count("\n") == 1
    assert said.startswith("error: captions._target_=my_captioner.Brightness: must be below")
    assert "SIP_TRUSTED=my_package" in said
