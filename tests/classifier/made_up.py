"""Images that a network learns in a dozen steps: their class is their brightness."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sip.backbone.timm import Timm
from sip.classifier.base import Result, TrainingImage
from sip.classifier.train import train
from tests.classifier.recipes import PLAIN, recipe

NAMES = ("dark", "middle", "bright")
BACKBONE = Timm("test_resnet", None, None, None, None, 0.0, 32, None, None)
RECIPE = recipe()

Splits = dict[str, list[TrainingImage]]


def make_splits(folder: Path) -> Splits:
    """Write 9 images for train, 12 for val, 15 for test."""
    rng = np.random.default_rng(0)
    made: Splits = {"train": [], "val": [], "test": []}
    for split, num in (("train", 9), ("val", 12), ("test", 15)):
        for number in range(num):
            path, label = folder / f"{split}{number}.png", number % 3
            pixels = rng.integers(80 * label, 80 * label + 90, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(path)
            made[split].append(TrainingImage(path.stem, str(path), label))
    return made


def run(splits: Splits, folder: Path, loggers: Any = (), **changed: Any) -> Result:
    """Train on them."""
    values = {"backbone": BACKBONE, "recipe": RECIPE, "augmentation": PLAIN, "seed": 0}
    values |= {f"{split}_rows": rows for split, rows in splits.items()}
    values |= {"trainer_kwargs": {"accelerator": "cpu", "devices": 1}}
    return train(**values | changed, class_names=NAMES, run_folder=folder, loggers=loggers)
