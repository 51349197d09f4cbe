"""Made-up runs: folders as `sip.train` leaves them, with names and captions that mean harm."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import OmegaConf
from PIL import Image

from sip.dataset.base import Sample
from sip.metrics.base import MetricRow
from sip.pipeline.quality import Quality
from sip.pipeline.stored import StoredImage
from sip.prompts.base import Prompt, SourceClass, Span
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
    if file.exists():
        return str(file)
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
    result = []
    for number, sample in enumerate(samples(root) * 2):
        spans = (Span("a photo of a ", 1.0), Span(sample.class_name, 1.5), Span(CAPTION, 0.9))
        prompt = Prompt(
            sample.sample_id, sample.path, sample.sha256, sample.label, sample.class_name,
            number // 6, spans, "", 4.5, 0.5, SEED + number, CAPTION, 0.3,
        )  # fmt: skip
        if number == 7:  # from a dog, to show the class of its original's row
            prompt = replace(prompt, source_class=SourceClass(2, "dog", 0.75))
        file = image_file(root / "store" / "images" / f"{number}.png", 32, 100 + number)
        row = {"file_sha256": sha256_of(file)}
        if number == 10:
            file = None
            row = {"status": "failed", "reason": "black"}
            row["error"] = f"{root}/secret/0.png: all of it is black"
        if number == 11:
            row |= {"status": "rejected", "reason": "similarity"}
        candidates = ((CAPTION, 0.3), ("a dog", 0.2), ("a cow", -0.1))
        result.append(stored(prompt, file, candidates, **row))
    return result


def make_run(
    root: Path, arm: str, seed: int, config: Mapping[str, Any] | None = None, **changes: Any
) -> Path:
    """Write the folder of a run of ResNet-50; return it.

    Args:
        root: Folder of runs, data and store.
        arm: Its augmentation.
        seed: Of the run; 0 to 2.
        config: Dotted key -> value; they are part of the folder's name.
        changes: Of the summary.
    """
    settings = "".join(f"-{value}" for value in (config or {}).values())
    folder = root / "runs" / f"resnet50-{arm}{settings}-seed{seed}"
    folder.mkdir(parents=True)
    generated = [] if arm == "none" else images(root)
    write_images(folder / "images.parquet", {"train": samples(root)}, generated, root / "store")
    numbers: list[MetricRow] = []
    if generated:
        judged = [image for image in generated if image.is_ok]
        columns = {
            "id": [image.prompt.image_id for image in judged],
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
    noise += (seed - 1) / 1000 if arm == "sip" else 0.0  # its gain is not the same with all seeds
    num_generated = len(generated)
    summary: dict[str, Any] = {
        "name": folder.name,
        "fingerprint": f"{arm}{seed}",
        "experiments": ("trial",),
        "dataset": "pets",
        "augmentation": arm,
        "seed": seed,
        "shots": 2,
        "num_real": 6,
        "num_generated": num_generated,
        "steps": 100,
        "test_accuracy": ACCURACY[arm] + noise,
        "unet_evaluations": 50 * num_generated,
        "metrics": {row.metric: row.value for row in numbers},
        "quality": tuple(numbers),
        "stages": (
            stage("images", computed=num_generated, seconds=2.5 * num_generated),
            stage("classifier", seconds=10.0 + seed),
        ),
        "commit": "c0ffee" * 6,
        "command": f"python -m sip.train seed={seed} paths.store={root}/store",
        "recipe": {"seed": seed, "offline": {"prompts": {}} if generated else None},
    }
    write_summary(folder, training_summary(**summary | changes))
    write_config(folder, {"paths.store": f"{root}/store", **(config or {})})
    write_curves(folder, seed)
    write_predictions(folder, seed)
    return folder


def write_config(folder: Path, values: Mapping[str, Any]) -> None:
    tree = OmegaConf.create()
    for key, value in values.items():
        OmegaConf.update(tree, key, value, force_add=True)
    OmegaConf.save(tree, folder / "config.yaml")


def write_curves(folder: Path, seed: int) -> None:
    """Write `metrics.csv`: a loss every 10 steps, one of which is no number, and two accuracies."""
    lines = ["epoch,lr,step,train/loss,val/accuracy"]
    lines += [f"0,0.1,{9 + 10 * n},{2.0 / (n + 1) + seed / 10},," for n in range(10)]
    lines += ["0,0.1,44,nan,", f"0,,49,,{0.4 + seed / 100}", f"0,,99,,{0.6 + seed / 100}"]
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")


def write_predictions(folder: Path, seed: int) -> None:
    """Write predictions of 12 test images, of which the seed's number and two are wrong."""
    labels = [number % 3 for number in range(12)]
    wrong = {0, 1, *range(2, 2 + seed)}
    taken = [(label + (n in wrong)) % 3 for n, label in enumerate(labels)]
    logits = np.eye(3, dtype=np.float32)[taken].tolist()
    columns = {
        "sample_id": [f"test/{n}" for n in range(12)],
        "split": ["test"] * 12,
        "label": labels,
        "logits": pa.array(logits, pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(columns), folder / "predictions.parquet")


def make_runs(root: Path) -> Path:
    """Write three arms of three seeds each; return the folder of the runs."""
    for arm in ACCURACY:
        for seed in range(3):
            make_run(root, arm, seed)
    return root / "runs"


def make_sweep(root: Path) -> Path:
    """Write a sweep of noise rate and guidance rule, three seeds each; return the runs' folder."""
    for rate in (0.3, 0.7):
        for rule, settings in (("constant", {"scale": 7.5}), ("quadratic", {"a": 9.0, "c": 1.0})):
            config = {"prompts.noise_rate": rate, "prompts.guidance": settings}
            for seed in range(3):
                folder = make_run(
                    root, "sip", seed, {"prompts.noise_rate": rate, "rule": rule},
                    experiments=("nxg",), fingerprint=f"{rule}{rate}{seed}",
                    choices={"augmentation": "sip", "prompts/guidance": rule},
                    overrides=(f"prompts.noise_rate={rate}", f"prompts/guidance={rule}"),
                    test_accuracy=0.7 + rate / 10 + SPREAD[seed],
                )  # fmt: skip
                write_config(folder, {"paths.store": f"{root}/store", **config})
    return root / "runs"
