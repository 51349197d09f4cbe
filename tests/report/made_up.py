"""Made-up runs: folders as `sip.train` leaves them, with names and captions that mean harm."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sip.dataset.base import Sample
from sip.metrics.base import MetricRow
from sip.pipeline.quality import Quality
from sip.pipeline.stored import StoredImage
from sip.prompts.base import Prompt, Span
from sip.records.write import write_images, write_summary
from tests.pipeline.made_up import stored
from tests.records.made_up import stage, training_summary

HARM = """<script>alert("1")</script>'&amp;"""
CLASSES = ("cat", HARM, "dog")
CAPTION = f"</script><img src=x onerror=alert(1)> {HARM}"
ACCURACY = {"none": 0.70, "sip": 0.80, "sip_cutmix": 0.71}
SPREAD = (0.0, 0.02, 0.01)  # of the seeds, the same for all arms but the last
SEED = 834002377442979301  # more than JavaScript's numbers hold


def image_file(file: Path, size: int, seed: int) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    levels = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(levels).resize((size, size), Image.Resampling.BICUBIC).save(file)
    return str(file)


def sha256_of(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def samples(root: Path) -> list[Sample]:
    """Return two images a class; larger than the page shows them."""
    files = [image_file(root / "data" / f"{number}.png", 300, number) for number in range(6)]
    return [
        Sample(
            f"{number:03d}", file, number % 3, CLASSES[number % 3], "train", 300, 300,
            sha256_of(file),
        )
        for number, file in enumerate(files)
    ]  # fmt: skip


def images(root: Path) -> list[StoredImage]:
    """Return two generated images an original, small ones; the last two failed or were rejected."""
    made = []
    for number, sample in enumerate(samples(root) * 2):
        spans = (Span("a photo of a ", 1.0), Span(sample.class_name, 1.5), Span(CAPTION, 0.9))
        prompt = Prompt(
            sample.sample_id, sample.path, sample.sha256, sample.label, sample.class_name,
            number // 6, spans, "", 4.5, 0.5, SEED + number, CAPTION, 0.3,
        )  # fmt: skip
        file = image_file(root / "store" / "images" / f"{number}.png", 32, 100 + number)
        row = {"file_sha256": sha256_of(file)}
        if number == 10:
            file = None
            row = {"status": "failed", "reason": "black"}
            row["error"] = f"{root}/secret/0.png: all of it is black"
        if number == 11:
            row |= {"status": "rejected", "reason": "similarity"}
        made.append(stored(prompt, file, ((CAPTION, 0.3), ("a dog", 0.2), ("a cow", -0.1)), **row))
    return made


def make_run(root: Path, arm: str, seed: int, **changes) -> Path:
    """Write the folder of a run of ResNet-50; return it."""
    folder = root / "runs" / f"resnet50-{arm}-seed{seed}"
    folder.mkdir(parents=True)
    drawn = [] if arm == "none" else images(root)
    write_images(folder / "images.parquet", {"train": samples(root)}, drawn, root / "store")
    numbers: list[MetricRow] = []
    if drawn:
        judged = [one for one in drawn if one.is_ok]
        columns = {
            "id": [one.prompt.image_id for one in judged],
            "label_similarity": [0.2 + number / 100 for number in range(len(judged))],
            "caption_similarity": [0.3] * len(judged),
            "original_distance": [0.5 - number / 100 for number in range(len(judged))],
            "zero_shot": ["cat"] * len(judged),
        }
        numbers = [
            MetricRow("generated/vendi", 4.25 + seed, "images", True, "train", 10),
            MetricRow("generated/frechet", 0.5, "squared distance", False, "val", 10),
            MetricRow("generated/own", 1.5, "apples", True, "train", 10),
        ]
        Quality(numbers, columns).write(folder)
    noise = SPREAD[-1 - seed] if arm == "sip_cutmix" else SPREAD[seed]
    generated = len(drawn)
    summary: dict[str, Any] = {
        "name": folder.name,
        "fingerprint": f"{arm}{seed}",
        "experiments": ("trial",),
        "dataset": "pets",
        "augmentation": arm,
        "seed": seed,
        "shots": 2,
        "num_real": 6,
        "num_generated": generated,
        "steps": 100,
        "test_accuracy": ACCURACY[arm] + noise,
        "unet_evaluations": 50 * generated,
        "metrics": {row.metric: row.value for row in numbers},
        "quality": tuple(numbers),
        "stages": (
            stage("images", made=generated, seconds=2.5 * generated),
            stage("classifier", seconds=10.0 + seed),
        ),
        "commit": "c0ffee" * 6,
        "command": f"python -m sip.train seed={seed} paths.store={root}/store",
        "recipe": {"seed": seed, "dataset": {"class": "Pets", "seed": seed}, "offline": None},
    }
    write_summary(folder, training_summary(**summary | changes))
    (folder / "config.yaml").write_text(f"paths:\n  store: {root}/store\n")
    return folder


def make_runs(root: Path) -> Path:
    """Write three arms of three seeds each; return the folder of the runs."""
    for arm in ACCURACY:
        for seed in range(3):
            make_run(root, arm, seed)
    return root / "runs"
