"""A small data set of coloured images in the form of CIFAR's Parquet files, and stacks of it."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import DictConfig
from PIL import Image

from sip.stack.work import Work
from tests.composing import composed

CONF = Path(__file__).parents[2] / "conf"
CLASSES = ("frog", "ship")
QUICK = (
    "dataset=cifar10_parquet",
    "dataset.pretrain_fraction=0.8",
    "dataset.val_fraction=0.5",
    "runtime.device=cpu",
    "samples_every=null",
    "num_samples=4",
)


def image(label: int, number: int) -> bytes:
    """Return a PNG of 32 px: a green or blue square on a border of another colour."""
    rng = np.random.default_rng(100 * label + number)
    pixels = np.empty((32, 32, 3), np.uint8)
    pixels[:] = ((110, 70, 35), (235, 235, 235), (128, 128, 128))[number % 3]
    pixels[8:24, 8:24] = ((0, 150, 40), (0, 60, 220))[label]
    noisy = pixels + rng.integers(-12, 13, pixels.shape)
    buffer = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def write_parquet(folder: Path, num_train: int = 40, num_test: int = 4) -> Path:
    """Write train.parquet and test.parquet with so many images a class."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, num in (("train", num_train), ("test", num_test)):
        shift = 0 if part == "train" else 50
        rows = [(label, number) for number in range(num) for label in range(len(CLASSES))]
        columns = {
            "image": [image(label, number + shift) for label, number in rows],
            "label": [label for label, _ in rows],
            "class_name": [CLASSES[label] for label, _ in rows],
        }
        pq.write_table(pa.table(columns), folder / f"{part}.parquet")
    return folder


def configuration(data: Path, folder: Path, *overrides: str) -> DictConfig:
    """Return what the command line would compose; 1 step a part."""
    settings = [
        *QUICK,
        f"dataset.path={data}",
        f"folder={folder}",
        f"paths.data={data.parent / 'data'}",
        "scale=1.0e-5",
        *overrides,
    ]
    return composed(*settings, name="stack")


def plain_work(folder: Path, **changes: object) -> Work:
    """Return settings for the CPU, without a time limit."""
    values = {
        "folder": folder,
        "device": "cpu",
        "bfloat16": False,
        "compile": False,
        "deadline": None,
        "save_every": 1e9,
        "samples_every": float("inf"),
        "logger": {},
        "values": {},
    }
    return Work(**(values | changes))  # type: ignore[arg-type]
