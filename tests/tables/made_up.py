"""Made-up run folders, as `sip.train` writes them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import OmegaConf

from sip.core.hashing import digest
from sip.records.write import write_summary
from tests.records.made_up import stage, training_summary

NUM_IMAGES = 200


def write_run(
    folder: Path,
    augmentation: str = "none",
    seed: int = 0,
    accuracy: float = 0.7,
    backbone: str = "resnet50",
    dataset: str = "digits",
    config: Mapping[str, Any] | None = None,
    choices: Mapping[str, str] | None = None,
    metrics: Mapping[str, float] | None = None,
    predictions: bool = True,
    ids: str = "test",
    **summary: Any,
) -> Path:
    """Write one run; return its folder.

    Args:
        folder: Of all runs.
        accuracy: On test, rounded to the made-up images; on val too, unless `summary` says so.
        config: Dotted key -> value.
        choices: Next to those of data set, backbone and augmentation.
        metrics: Further ones.
        predictions: Whether they are stored.
        ids: How the names of the test images begin.
        summary: Further keys.
    """
    generates = augmentation.startswith("sip")
    keys = {"prompts.noise_rate": 0.5, "captions.sampling": "nucleus", "seed": seed}
    keys |= dict(config or {})
    named = {"dataset": dataset, "backbone": backbone, "augmentation": augmentation}
    recipe = {"named": named, "keys": keys, "offline": {"prompts": {}} if generates else None}
    fingerprint = digest([recipe, ids, *([dict(choices)] if choices else [])])[:10]
    run = folder / f"{backbone}-{augmentation}-seed{seed}-{fingerprint}"
    run.mkdir(parents=True)
    tree = OmegaConf.create()
    for key, value in keys.items():
        OmegaConf.update(tree, key, value, force_add=True)
    OmegaConf.save(tree, run / "config.yaml")
    right = _right(accuracy, seed)
    accuracy = float(right.mean())
    num_generated = 50 if generates else 0
    overrides = [f"{key}={value}" for key, value in {**named, **(config or {})}.items()]
    numbers = {"test/top1": accuracy, "val/top1": accuracy, **(metrics or {})}
    if "val_accuracy" in summary:
        numbers["val/top1"] = summary["val_accuracy"]
    whole: dict[str, Any] = {
        "name": f"{backbone}-{augmentation}-seed{seed}",
        "fingerprint": fingerprint,
        **named,
        "seed": seed,
        "num_generated": num_generated,
        "val_accuracy": accuracy,
        "test_accuracy": accuracy,
        "unet_evaluations": 50 * num_generated,
        "generation_seconds": 0.5 * num_generated,
        "stages": (stage("classifier", seconds=10.0 + seed),),
        "recipe": recipe,
        "overrides": (*overrides, f"seed={seed}"),
        "choices": {
            **named,
            "prompts": "label_caption",
            "images": "img2img",
            "augmentation/base": "none",
            **(choices or {}),
        },
        "metrics": numbers,
    }
    write_summary(run, training_summary(**whole | summary))
    if predictions:
        _write_predictions(run / "predictions.parquet", right, ids)
    return run


def write_arms(
    folder: Path, accuracies: Mapping[str, float], num_seeds: int = 5, **rest: Any
) -> None:
    """Write an arm with every accuracy, whose seeds differ by a point or two."""
    noise = np.random.default_rng(0).normal(0, 0.01, (len(accuracies), num_seeds))
    for (arm, accuracy), row in zip(accuracies.items(), noise, strict=True):
        for seed in range(num_seeds):
            write_run(folder, arm, seed, accuracy + float(row[seed]), **rest)


def _right(accuracy: float, seed: int) -> np.ndarray:
    order = np.random.default_rng(seed).permutation(NUM_IMAGES)
    return order < round(accuracy * NUM_IMAGES)  # the same images first, in every arm of a seed


def _write_predictions(file: Path, right: np.ndarray, ids: str) -> None:
    names = [f"{ids}/{number}" for number in range(NUM_IMAGES)]
    labels = [number % 2 for number in range(NUM_IMAGES)]
    pairs = zip(labels, right, strict=True)
    logits = [[1.0, 0.0] if (label == 0) == ok else [0.0, 1.0] for label, ok in pairs]
    columns = {
        "sample_id": [*names, "val/0"],
        "split": ["test"] * NUM_IMAGES + ["val"],
        "label": [*labels, 0],
        "logits": pa.array([*logits, [1.0, 0.0]], pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(columns), file)
