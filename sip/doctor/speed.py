"""A short test of speed, with the embedded profile's models: generation, and a training step."""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sip.doctor.base import OK, Finding

if TYPE_CHECKING:
    from omegaconf import DictConfig

SECONDS = 4.0  # of each of the two, after one round to warm up
NUM_IMAGES = 25  # images in a batch, as runtime.batch_size.images
CAPTION, COSINE = "a thin digit, a long stroke", 0.3  # as the captioner and the scorer give


def speed(config: "DictConfig", embedded: "DictConfig") -> Iterator[Finding]:
    """Yield how fast this machine generates and trains.

    Args:
        config: Its node `runtime` is used.
        embedded: A configuration of profile=embedded.
    """
    from sip.device.settings import Runtime, set_threads

    runtime = Runtime.of(config.runtime)
    set_threads(runtime)
    yield generation(embedded, runtime.device)
    yield training(embedded, runtime.device)


def generation(embedded: "DictConfig", device: str) -> Finding:
    """Generate batches from one grey image, as sip.generate does, without writing files."""
    import torch
    from PIL import Image

    from sip.dataset.base import Sample
    from sip.device.settings import Runtime
    from sip.images.batches import read_batch
    from sip.pipeline.offline import Offline

    with tempfile.TemporaryDirectory() as folder:
        embedded = embedded.copy()
        embedded.paths.store = folder
        offline = Offline(embedded)
        size = offline.generator.size
        path = str(Path(folder) / "grey.png")
        Image.new("RGB", (size, size), (90, 90, 90)).save(path)
        samples = [
            Sample(f"sample {n}", path, 0, "zero", "train", size, size, f"{n}")
            for n in range(NUM_IMAGES)
        ]
        rows = [offline.write([s], [[CAPTION]], [[COSINE]])[0] for s in samples]
        batch = read_batch(rows, size)
    # Each round encodes the originals again, as a long job does.
    batch = replace(batch, last_sources=frozenset(batch.sources))
    engine = offline.generator.load(Runtime.cpu(device=device))
    with torch.inference_mode():
        num, seconds = _rounds(lambda: engine.predict_step(batch), device)
    evaluations = offline.generator.num_evaluations(rows[0])
    return Finding(
        "generation",
        OK,
        f"{num * NUM_IMAGES / seconds:.1f} images/s on {device} with the miniature model: {size} "
        f"px, {evaluations} U-Net evaluations each",
    )


def training(embedded: "DictConfig", device: str) -> Finding:
    """Take optimiser steps of the embedded profile's ResNet-50 on random images."""
    import torch
    from torch.nn.functional import cross_entropy

    from sip.config.build import build

    size, batch_size = embedded.profile.image_size, embedded.profile.classifier.scratch.batch_size
    network = build(embedded.backbone).create(10).to(device).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    images = torch.rand(batch_size, 3, size, size, device=device)
    labels = torch.arange(batch_size, device=device) % 10

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(network(images), labels).backward()
        optimizer.step()

    num, seconds = _rounds(step, device)
    return Finding(
        "training",
        OK,
        f"{1000 * seconds / num:.0f} ms a step on {device}: {embedded.backbone.name}, {batch_size} "
        f"images of {size} px",
    )


def _rounds(work: Callable[[], object], device: str) -> tuple[int, float]:
    """Do something once to warm up, then over and over for `SECONDS`; return how often, and s."""
    import torch

    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)

    work()
    wait()
    started, num = time.perf_counter(), 0
    while num == 0 or time.perf_counter() - started < SECONDS:
        work()
        wait()
        num += 1
    return num, time.perf_counter() - started
