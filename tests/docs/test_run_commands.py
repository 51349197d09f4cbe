"""Every command of README and docs runs, through the program's own `main` and all of Hydra.

What the embedded profile does in seconds is run, page by page, with settings added that make it
short; pages of many trainings only with `--run-slow`. What needs a GPU, weights or hours is read
and built, and does no work; of that, what the pages say of missing weights is run too.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.docs.command_line import run, understand
from tests.docs.pages import DOCS, PAGES, ROOT, Line, blocks, shell_lines

SHORT = {
    "sip.adapt": ["method.steps=2", "method.num_validation=1", "dataset.shots=1"],
    "sip.generate": ["metrics=[]", "images.num_steps=4"],
    "sip.train": [
        *("backbone=resnet_mini", "classifier.steps=2", "classifier.val_every=2"),
        *("classifier.warmup_steps=1", "train.leaks=false", "metrics=[]", "logger=csv"),
        *("images.num_steps=4", "runtime.num_threads=1", "dataset.shots=1"),
        "train.baseline=false",
    ],
}
FEWER = {  # jobs of a sweep, and steps of its trainings
    "classifier.steps=100": ["classifier.steps=4"],
    "seed=0,1,2": ["seed=0"],
    "experiment=mine": ["experiment=main"],  # nothing of it can run here
    "experiment=policy": ["experiment=main"],  # nor of these
    "experiment=policy_rounds": ["experiment=main"],
    "+sweep=arms": ["+sweep=arms", "seed=0", "augmentation=none,sip"],
    "+sweep=noise_rate": ["+sweep=noise_rate", "seed=0", "prompts.noise_rate=0.3,0.5"],
    "+sweep=guidance": ["+sweep=guidance", "seed=0", "prompts/guidance=constant,quadratic"],
}
COSTLY = (
    *("runtime=gpu", "profile=own", "dataset=huggingface", "dataset=webdataset", "full_size"),
    *("push=hub:", "paths.cache=", "dataset.shots=null", "_candidates"),
    *("+sweep=confirmatory", "+sweep=policy"),
)
SLOW_PAGES = {DOCS / name for name in ("arms.md", "loggers.md", "method.md")}
OWN_PAGES = {page for page in PAGES if page.parent.name == "extend"}  # test_recipes.py runs them
FOLDER = "/path/to/images"
PLACEHOLDERS = {
    FOLDER: "{}/images",
    "/path/to/list.csv": "{}/list.csv",
    "/path/to/model": "sip/miniature/scorer",
    "=FOLDER": "={}/digits",
}
BUCKET = "s3://bucket/prefix"


def lines() -> dict[Line, Path]:
    """Return every command of the pages' blocks, and the first page that has it."""
    found: dict[Line, Path] = {}
    for page in PAGES:
        if page not in OWN_PAGES:
            for line in shell_lines(page):
                found.setdefault(line, page)
    return found


def is_cheap(line: Line) -> bool:
    """Return whether a command runs here, in seconds."""
    text = str(line)
    if "profile=paper" in text and "augmentation=none" in text:  # it needs no weights
        return False
    return not any(word in text for word in COSTLY) and not line.module.startswith(
        ("sip.stack", "sip.studio")
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with images of two classes, and configurations of one's own."""
    folder = tmp_path_factory.mktemp("commands")
    rng = np.random.default_rng(0)
    rows = ["path,label,split,caption"]
    for name in ("images/n01", "images/dog", "digits/one", "digits/two"):
        (folder / name).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
            rows.append(f"{name}/{number}.png,{Path(name).name},train,thin lines|a dot")
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    (folder / "prompts.csv").write_text("file,prompt\nimages/dog/0.png,a dog\n")
    for page in PAGES:
        for block in blocks(page):
            if page not in OWN_PAGES and block.title and block.title.startswith("my_conf/"):
                file = folder / block.title
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block.text.replace(FOLDER, str(folder / "images")))
    with pytest.MonkeyPatch.context() as patched:  # the experiment that the pages' tables read
        patched.chdir(folder)
        words = [*FEWER["+sweep=arms"], "experiment=main"]
        assert run("sip.train", shortened("sip.train", words), patched) == 0
        words = ["dataset=image_folder", "dataset.root=images"]  # what the pages export
        assert run("sip.generate", shortened("sip.generate", words), patched) == 0
        for reviewed in folder.glob("runs/generate-image_folder-*"):
            rows = pd.read_parquet(reviewed / "images.parquet")
            rows = rows[rows.kind == "generated"].assign(image_id=rows.id, decision="accept")
            rows[["image_id", "decision"]].to_csv(reviewed / "review.csv", index=False)
    return folder


@pytest.fixture
def cwd(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stand in that folder, away from any weights."""
    monkeypatch.chdir(place)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(place / "hub"))
    monkeypatch.setattr("sip.doctor.speed.SECONDS", 0.0)
    monkeypatch.setattr("sip.doctor.speed.NUM_IMAGES", 2)
    yield place


def arguments_of(line: Line, cwd: Path) -> list[str]:
    """Return the arguments, with the pages' placeholders replaced by what is there."""
    words = []
    for word in line.arguments:
        key, _, value = word.partition("=")
        if value.startswith("runs/") and "..." in value:
            value = value.replace("oxford_pets", "image_folder").replace("resnet50", "resnet_mini")
            found = sorted(cwd.glob(value.replace("...", "*")), key=is_of_digits)
            word = f"{key}={found[-1]}"
        for written, there in PLACEHOLDERS.items():
            word = word.replace(written, there.format(cwd))
        words += FEWER.get(word, [word])
    return words


def is_of_digits(run: Path) -> bool:
    """Return whether a run is of the digits: other pages' runs have the same name."""
    file = run / "summary.json"  # a run of sip.adapt has none
    return file.is_file() and json.loads(file.read_text()).get("dataset") == "digits"


def shortened(module: str, words: list[str]) -> list[str]:
    """Return the arguments with settings that make the work short, where none is given."""
    if "--help" in words:
        return words
    given = {word.lstrip("+").partition("=")[0] for word in words}
    presets = "profile=paper" in words
    return words + [
        word
        for word in SHORT.get(module, [])
        if (key := word.partition("=")[0]) not in given
        and not (presets and key in ("backbone", "images.num_steps"))
        and not (key == "backbone" and any(word.startswith("+exp=vit") for word in words))
    ]


def own_lines(page: Path) -> list[Line]:
    """Return the commands of a page that no page before it has."""
    first = lines()
    return [line for line in shell_lines(page) if first[line] == page]


def prepared(
    line: Line, cwd: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> list[str]:
    """Set a command's environment and return its arguments, with a bucket if it names one."""
    words = arguments_of(line, cwd)
    if BUCKET in str(line):
        words = [word.replace(BUCKET, request.getfixturevalue("bucket")) for word in words]
    for name, value in line.environment:
        monkeypatch.setenv(name, value)
    return words


def page_param(page: Path) -> Any:
    """Return a page as a parameter of a test that runs its commands."""
    marks = [pytest.mark.slow] if page in SLOW_PAGES else []
    return pytest.param(page, marks=marks, id=page.relative_to(ROOT).as_posix())


@pytest.mark.parametrize("page", [page_param(page) for page in PAGES if page not in OWN_PAGES])
def test_the_commands_of_a_page(
    page: Path,
    cwd: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    for line in own_lines(page):
        words = prepared(line, cwd, monkeypatch, request)
        if not is_cheap(line):
            understand(line.module, words, monkeypatch)
            continue
        output = next((word[7:] for word in words if word.startswith("output=")), "")
        if output and Path(output).is_dir():
            shutil.rmtree(output)
        code = run(line.module, shortened(line.module, words), monkeypatch)
        said = capsys.readouterr()
        plans = "plan=true" in words and "prompts_out=prompts.csv" not in words
        if "profile=paper" in words and not plans:  # no weights here
            assert code == 1 and "hf download" in said.out + said.err, line
        else:
            assert code == 0, f"{line}\n{said.err}"


@pytest.mark.parametrize("page", sorted(SLOW_PAGES), ids=lambda page: page.name)
def test_the_commands_of_a_slow_page_are_understood(
    page: Path, cwd: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    for line in own_lines(page):
        understand(line.module, prepared(line, cwd, monkeypatch, request), monkeypatch)


def test_every_page_has_its_commands() -> None:
    assert len(lines()) > 40
    assert {page.name for page in lines().values()} >= {"README.md", "own-data.md", "results.md"}
    assert sum(map(is_cheap, lines())) > 25
    assert (DOCS / "extend" / "index.md") in OWN_PAGES
