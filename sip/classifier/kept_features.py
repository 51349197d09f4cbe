"""Features of a frozen backbone: computed once for each image and kept in the store.

    store/features/<model>-<recipe>/    a row an image, its features (D,) float32 as an .npy file

The recipe is the backbone's, the key the image's content, so runs with other seeds, subsets, heads
and classes share them, and so do the metrics. They are computed in float32 at any training
precision; batch size and device affect only their rounding.
"""

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from sip.backbone.base import Backbone
from sip.classifier.base import LabelledImage
from sip.classifier.loading import decode
from sip.classifier.tuning.probed import Probed
from sip.core.errors import UserError
from sip.core.image_io import file_sha256
from sip.core.tars import read_bytes, read_checked
from sip.core.threads import prefetch
from sip.core.uri import Place
from sip.device.precision import full_float32
from sip.store.fill import Filled, fill
from sip.store.filling import Add
from sip.store.stage import Store

SHARD_SIZE = 4096  # rows that are committed together
AHEAD = 2  # batches of images that are read and wait


def kept_features(
    extract: Callable[[Tensor], Tensor],
    backbone: Backbone,
    rows: Sequence[LabelledImage],
    store: str | Place,
    batch_size: int,
    num_workers: int = 2,
) -> tuple[Tensor, Filled]:
    """Return the features (N, D), float32, of images, and how many were computed.

    Args:
        extract: Returns the features (B, D) of images (B, 3, H, W), uint8.
        backbone: The network that it uses.
        rows: N images.
        store: The store.
        batch_size: Images at a time.
        num_workers: Threads that read images.

    Raises:
        UserError: An image cannot be read.
    """
    recipe = {"class": "sip.classifier.features.Features", "version": 1}
    named = str(backbone.recipe().get("name", type(backbone).__name__))
    stage = Store(store).stage("features", named, {**recipe, "backbone": backbone.recipe()})
    keys = [content_key(row) for row in rows]
    wanted = {key: (key, row) for key, row in zip(keys, rows, strict=True)}

    def read(batch: Sequence[tuple[str, LabelledImage]]) -> Tensor:
        size = backbone.input_size
        images = [decode(row.path, size, file_sha256(row)) for _, row in batch]
        return torch.from_numpy(np.stack(images))

    def make(batches: Iterator[list[tuple[str, LabelledImage]]], add: Add) -> None:
        with prefetch(batches, read, num_workers, AHEAD) as ready:
            for batch, images in ready:
                for (key, _), values in zip(batch, extract(images).numpy(), strict=True):
                    add({"key": key, "payload": npy(values), "suffix": ".npy"})

    filled = fill(stage, wanted, make, batch_size, SHARD_SIZE, storage="webdataset", unit="image")
    numbers = {key: number for number, key in enumerate(wanted)}
    table = [np.load(io.BytesIO(checked(row))) for row in stage.each(list(wanted))]
    return torch.from_numpy(np.stack(table))[[numbers[key] for key in keys]], filled


def content_key(row: LabelledImage) -> str:
    """Return the hash of an image's content."""
    known = getattr(row, "sha256", None) or file_sha256(row)
    return known or hashlib.sha256(read_bytes(row.path)).hexdigest()


def checked(row: dict) -> bytes:
    """Return the file of a row of the store."""
    return read_checked(row["file"], row["file_sha256"])


def compute(network: Probed, images: Tensor) -> Tensor:
    """Return the features (B, D), float32, on the CPU, of normalised images (B, 3, H, W).

    Raises:
        UserError: The network has more than one layer between them and its logits.
    """
    with torch.inference_mode(), full_float32():
        given = images.contiguous(memory_format=torch.channels_last)
        features = network.features(given)
        if not torch.allclose(network(features[:1]), network.model(given[:1]), 1e-2, 1e-3):
            raise UserError(
                f"classifier/tuning=probe: a {type(network.model).__name__} is more than features "
                "and one linear layer; choose another backbone, or classifier=finetune"
            )
        return features.float().cpu()


def npy(values: np.ndarray) -> bytes:
    """Return an array as the bytes of an .npy file."""
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()
