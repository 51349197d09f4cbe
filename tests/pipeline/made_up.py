"""Generated images as the store would hold them, and settings of runs that take seconds."""

from typing import Any

from sip.images.base import ImageRow
from sip.pipeline.stored import Candidates, StoredImage
from sip.prompts.base import Prompt

TRAINING = (
    "dataset.shots=1",
    "images.num_steps=4",
    "images.per_sample=2",
    "backbone=timm",
    "backbone.name=test_resnet",
    "classifier.steps=4",
    "classifier.val_every=2",
    "classifier.warmup_steps=1",
    "runtime.num_threads=1",
    "train.leaks=false",
    "logger=csv",
)


def stored(
    prompt: Prompt, file: str | None, candidates: Candidates = (), **changes: Any
) -> StoredImage:
    """Return an image of 32 px that is ok, but for the changes to its row."""
    values: dict[str, Any] = {
        "key": prompt.image_id,
        "sample_id": prompt.sample_id,
        "label": prompt.label,
        "width": 32,
        "height": 32,
        "unet_evaluations": 50,
        "seconds": 0.1,
        "status": "ok",
        "file": file,
    }
    return StoredImage(prompt, ImageRow(**values | changes), candidates)
