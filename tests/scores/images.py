"""Images with captions, and a way to have them scored, as the pipeline does it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from sip.dataset.base import Sample
from sip.device.batches import reader
from sip.scores.base import ToScore
from sip.scores.module import ScoreModule

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
    module: ScoreModule, samples: list[Sample], captions: Sequence[list[str]], batch: int = 100
) -> list[list[float]]:
    rows = []
    items = [
        ToScore(s.sample_id, s, candidates) for s, candidates in zip(samples, captions, strict=True)
    ]
    read = reader(lambda item: item.sample, module.prepare)
    for start in range(0, len(samples), batch):
        prepared = read(items[start : start + batch])
        assert prepared.pixels is not None and prepared.pixels.device.type == "cpu"
        rows += module.predict_step(prepared)
    assert [row.captions for row in rows] == list(captions)
    return [row.similarities for row in rows]
