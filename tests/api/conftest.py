"""A small run of `sip.generate`, made once, of six digits that are in memory."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import sip

NAMES = ("zero", "one", "two")
SMALL = {"profile": "embedded", "overrides": ["images.num_steps=2"], "device": "cpu"}


def digit(index: int) -> Image.Image:
    """Return a scanned digit, 32 x 32 px, RGB."""
    pixels = load_digits().images[index] / 16 * 255
    return Image.fromarray(np.kron(pixels, np.ones((4, 4))).astype(np.uint8)).convert("RGB")


@pytest.fixture(scope="session")
def pairs() -> list[tuple[Image.Image, int]]:
    """Images of the classes 0, 1 and 2, two of each."""
    return [(digit(index), label) for index, label in enumerate([0, 1, 2])] + [
        (digit(index), label) for label, index in enumerate([10, 11, 12])
    ]


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the store and the runs."""
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="session")
def run(pairs: list, place: Path) -> sip.Run:
    """Two images from each of them."""
    return sip.generate(
        pairs, class_names=NAMES, per_sample=2, store=place / "store", runs=place / "runs",
        progress=False, **SMALL,
    )  # fmt: skip
