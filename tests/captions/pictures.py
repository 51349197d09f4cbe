"""Pictures and a way to have them captioned, as the pipeline does it: read, prepare, caption."""

import hashlib
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from sip.captions.base import Captioner
from sip.core.image_io import read_rgb
from sip.dataset.base import Sample

AnyCaptioner = TypeVar("AnyCaptioner", bound=Captioner)


def make_samples(folder: Path, num: int = 7) -> list[Sample]:
    rng, rows = np.random.default_rng(0), []
    for number in range(num):
        path, width = folder / f"{number}.png", 32 + number
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
        coarse.resize((width, 32)).save(path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append(Sample(f"s{number}", str(path), 1, "one", "train", width, 32, sha256))
    return rows


def loaded(captioner: AnyCaptioner) -> AnyCaptioner:
    captioner.load("cpu")
    return captioner


def captions_of(captioner: Captioner, samples: list[Sample], batch: int = 100) -> list[list[str]]:
    rows = []
    for start in range(0, len(samples), batch):
        part = samples[start : start + batch]
        pixels = captioner.prepare([read_rgb(sample.path, None) for sample in part])
        assert len(pixels) == len(part) and pixels.device.type == "cpu"
        rows += captioner.caption(part, pixels)
    return rows
