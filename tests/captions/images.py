"""Images and a way to have them captioned, as the pipeline does it: read, prepare, predict."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sip.captions.base import Captioner
from sip.captions.module import CaptionModule
from sip.dataset.base import Sample
from sip.device.batches import reader
from sip.device.settings import Runtime

SIZES = tuple((32 + number, 32) for number in range(7))


def make_samples(folder: Path, sizes: Sequence[tuple[int, int]] = SIZES) -> list[Sample]:
    rng, rows = np.random.default_rng(0), []
    for number, (width, height) in enumerate(sizes):
        path = folder / f"{number}.png"
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
        coarse.resize((width, height)).save(path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append(Sample(f"s{number}", str(path), 1, "one", "train", width, height, sha256))
    return rows


def loaded(captioner: Captioner) -> CaptionModule:
    return captioner.load(Runtime.cpu())


def captions_of(module: CaptionModule, samples: list[Sample], batch: int = 100) -> list[list[str]]:
    rows = []
    read = reader(lambda sample: sample, module.prepare)
    for start in range(0, len(samples), batch):
        prepared = read(samples[start : start + batch])
        assert prepared.pixels is not None
        mappings = prepared.pixels if isinstance(prepared.pixels, list) else [{"": prepared.pixels}]
        assert {t.device.type for row in mappings for t in row.values()} == {"cpu"}
        with torch.inference_mode():
            rows += module.predict_step(prepared)
    assert [row.sample_id for row in rows] == [sample.sample_id for sample in samples]
    assert all(row.status == "ok" and row.error is None for row in rows)
    return [row.captions for row in rows]
