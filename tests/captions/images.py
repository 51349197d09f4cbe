"""Images and a way to have them captioned, as the pipeline does it: read, prepare, predict."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sip.captions.base import Captioner
from sip.captions.module import CaptionModule
from sip.dataset.base import Sample
from sip.device.batches import reader
from sip.device.settings import Runtime


def make_samples(folder: Path, num: int = 7) -> list[Sample]:
    rng, rows = np.random.default_rng(0), []
    for number in range(num):
        path, width = folder / f"{number}.png", 32 + number
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
        coarse.resize((width, 32)).save(path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append(Sample(f"s{number}", str(path), 1, "one", "train", width, 32, sha256))
    return rows


def loaded(captioner: Captioner) -> CaptionModule:
    return captioner.load(Runtime.cpu())


def captions_of(module: CaptionModule, samples: list[Sample], batch: int = 100) -> list[list[str]]:
    rows = []
    read = reader(lambda sample: sample, module.prepare)
    for start in range(0, len(samples), batch):
        prepared = read(samples[start : start + batch])
        assert prepared.pixels is not None and prepared.pixels.device.type == "cpu"
        with torch.inference_mode():
            rows += module.predict_step(prepared)
    assert [row.sample_id for row in rows] == [sample.sample_id for sample in samples]
    assert all(row.status == "ok" and row.error is None for row in rows)
    return [row.captions for row in rows]
