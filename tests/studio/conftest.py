"""Two small runs of the same six digits, made once, and copies of them to decide on."""

import shutil
from pathlib import Path

import pytest

import sip
from sip.api.session import Session
from sip.studio.settings import Settings
from tests.api.conftest import NAMES, SMALL, digit

STEPS = "images.num_steps=8"


@pytest.fixture(scope="session")
def session() -> Session:
    """Keeps the models for all tests."""
    return Session()


@pytest.fixture(scope="session")
def place(session: Session, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a store, and runs at two noise rates."""
    place = tmp_path_factory.mktemp("studio")
    pairs = [(digit(index), index % 10) for index in (0, 1, 2, 10, 11, 12)]
    for rate in (0.5, 0.9):
        session.generate(
            pairs, class_names=NAMES, per_sample=2, noise_rate=rate, store=place / "store",
            runs=place / "runs", progress=False, **SMALL,
        )  # fmt: skip
    return place


@pytest.fixture(scope="session")
def settings(place: Path) -> Settings:
    """The settings of a studio there."""
    return Settings("embedded", place / "store", place / "runs", (STEPS, "runtime.device=cpu"))


@pytest.fixture
def folders(place: Path, tmp_path: Path) -> list[Path]:
    """Copies of the folders of both runs."""
    found = sorted(place.glob("runs/generate-*"))
    return [Path(shutil.copytree(run, tmp_path / "runs" / run.name)) for run in found]


@pytest.fixture
def runs(folders: list[Path]) -> dict[str, sip.Run]:
    """Both runs by name."""
    return {folder.name: sip.Run(folder) for folder in folders}
