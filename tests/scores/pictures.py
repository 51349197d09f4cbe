"""Pictures with captions, and a way to have them scored, as the pipeline does it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from sip.core.image_io import read_rgb
from sip.dataset.base import Sample
from sip.scores.base import Scorer

CAPTIONS = [
    ["a digit, leaning left", "a handwritten digit, with thick strokes, wide, balanced"],
    ["upright"],
    [],
    ["a scan of a digit, narrow", "a digit", "xyz?"],
    ["very " * 50 + "long"],
]


def make_samples(folder: Path) -> list[Sample]:
    rng, rows = np.random.default_rng(0), []
    for number in range(len(CAPTIONS)):
        path, height = folder / f"{number}.png", 32 + 9 * number
        Image.fromarray(rng.integers(0, 256, (height, 40, 3), np.uint8)).save(path)
        rows.append(Sample(f"s{number}", str(path), 1, "one", "train", 40, height, str(number)))
    return rows


def scores_of(
    scorer: Scorer, samples: list[Sample], captions: Sequence[list[str]], batch: int = 100
) -> list[list[float]]:
    rows = []
    for start in range(0, len(samples), batch):
        part = samples[start : start + batch]
        pixels = scorer.prepare([read_rgb(sample.path, None) for sample in part])
        assert len(pixels) == len(part) and pixels.device.type == "cpu"
        rows += scorer.score(part, captions[start : start + batch], pixels)
    return rows
