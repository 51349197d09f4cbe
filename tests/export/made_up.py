"""A finished run of two classes, with images in files and in tar shards, made by hand."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import OmegaConf
from PIL import Image

from sip.records.write import write_summary
from sip.store.place import Folder
from sip.store.shards import read_columns, read_rows
from sip.store.writer import ShardWriter
from sip.weights.loaded import LoadedWeights
from tests.dataset.trees import source
from tests.records.made_up import training_summary

SEED = 2**62 + 12345  # no float64 holds it
CLASS_NAMES = {0: "zero", 1: "a/b: 犬"}
RECIPE = {
    "seed": 3,
    "backbone": {"class": "not of images"},
    "offline": {
        "prompts": {"class": "sip.prompts.label_caption.LabelCaption", "noise_rate": 0.5},
        "images": {"weights": "/home/somebody/models/sd15", "num_steps": 50},
    },
}


def encoded(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def generated_rows(store: Path, storage: str, numbers: range) -> list[dict[str, Any]]:
    """Generate images into a shard of their own; return the rows of `images.parquet`."""
    place = Folder(store / "images" / "img2img-0123456789")
    place.prepare()
    writer = ShardWriter(place, "owner", storage)
    for number in numbers:
        payload = encoded(number)
        writer.add({"key": f"{number:024x}", "payload": payload, "suffix": ".png"})
    writer.commit([f"{number:024x}" for number in numbers])
    shard = place.shards / writer.name
    rows = read_rows(shard, set(read_columns(shard, ["key"])["key"]))
    return [
        {
            "kind": "generated",
            "id": row["key"],
            "sample_id": f"digits/{number % 2}",
            "split": "train",
            "label": number % 2,
            "class_name": CLASS_NAMES[number % 2],
            "sha256": row["file_sha256"],
            "file": str(Path(row["file"]).relative_to(store)),
            "status": "ok",
            "variant": 0,
            "spans": json.dumps([["a photo of ", 1.0], ["é dog", 1.5]]),
            "negative_prompt": "",
            "guidance_scale": 7.25,
            "noise_rate": 0.5,
            "seed": SEED + number,
            "caption": "é dog",
            "similarity": 0.25,
            "candidates": "[]",
            "unet_evaluations": 50,
        }
        for number, row in zip(numbers, rows, strict=True)
    ]


def make_run(tmp_path: Path) -> Path:
    """Return the folder of a run: 4 images in files, 3 in a tar shard, 2 that failed."""
    store, folder = tmp_path / "store", tmp_path / "runs" / "resnet50-sip-seed3-abc"
    rows = generated_rows(store, "files", range(4)) + generated_rows(
        store, "webdataset", range(4, 7)
    )
    failed = {**rows[0], "sha256": None, "file": None, "status": "failed"}
    rows += [{**failed, "id": f"failed{n}", "reason": "black", "error": "/x"} for n in range(2)]
    dataset = source("digits", tmp_path / "data", image_size=8, shots=1)
    real = [
        {
            "kind": "real",
            "id": sample.sample_id,
            "sample_id": sample.sample_id,
            "split": split,
            "label": sample.label,
            "class_name": CLASS_NAMES.get(sample.label, sample.class_name),
            "sha256": sample.sha256,
            "status": "ok",
        }
        for split in ("train", "val")
        for sample in dataset.samples(split)[:10]
    ]
    folder.mkdir(parents=True)
    fields = [
        (name, pa.array([row.get(name) for row in rows]).type) for name in [*rows[0], "reason"]
    ]
    pq.write_table(pa.Table.from_pylist(real + rows, pa.schema(fields)), folder / "images.parquet")
    used = {
        stage: LoadedWeights(
            source=source, revision="v1", commit=None, sha256={"model.safetensors": name * 32}
        )
        for stage, source, name in (
            ("images", "/home/somebody/models/sd15", "a1"),
            ("backbone", "org/vit", "b2"),
        )
    }
    summary = training_summary(
        recipe=RECIPE, commit="c0ffee", versions={"torch": "2.15"}, weights=used
    )
    write_summary(folder, summary)
    config = {
        "paths": {"store": str(store)},
        "dataset": {
            "_target_": "sip.dataset.digits.Digits",
            "root": str(tmp_path / "data"),
            "image_size": 8,
            "shots": 1,
            "fraction": None,
            "imbalance": None,
            "label_noise": None,
            "seed": 0,
        },
    }
    OmegaConf.save(OmegaConf.create(config), folder / "config.yaml")
    return folder
