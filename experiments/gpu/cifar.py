"""CIFAR-10 from Parquet, decoded once a day; in the tiny form also made-up images."""

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import TYPE_CHECKING, Any

from experiments.gpu.job import Job

if TYPE_CHECKING:
    from torch import Tensor

CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
CHUNK = 500  # images that a thread decodes at a time
NUM_TINY = {"train": 600, "test": 200}  # images of the tiny form


def has(job: Job, split: str) -> bool:
    """Return whether a split can be read; the tiny form makes one up."""
    data = job.settings.data
    return bool(data and (data / f"{split}.parquet").exists()) or job.settings.tiny


def read(job: Job, split: str) -> "tuple[Tensor, Tensor]":
    """Return images (N, 3, 32, 32), uint8, and labels (N,), int64, on the CPU."""
    import torch

    kept = job.scratch / f"{split}.pt"
    if not kept.exists():
        data = job.settings.data
        file = data / f"{split}.parquet" if data else None
        number = NUM_TINY[split] if job.settings.tiny else None
        if file is not None and file.exists():
            pair = _decoded(file, number)
        else:
            assert number is not None, "the day checks that the data is there"
            pair = made_up(number)
        part = kept.with_suffix(".part")
        torch.save(pair, part)
        part.rename(kept)
    images, labels = torch.load(kept, weights_only=True)
    return images, labels


def _decoded(file: Any, number: int | None) -> "tuple[Tensor, Tensor]":
    """Decode `number` rows from all over the file, or all; columns `image` and `label`."""
    import numpy as np
    import pyarrow.parquet as pq
    import torch
    from PIL import Image

    table = pq.read_table(file, columns=["image", "label"])
    if number is not None:
        table = table.take(np.linspace(0, len(table) - 1, number).astype(int))
    encoded = table.column("image").to_pylist()

    def decode(values: list[Any]) -> np.ndarray:
        data = (value["bytes"] if isinstance(value, dict) else value for value in values)
        return np.stack([np.asarray(Image.open(BytesIO(one)).convert("RGB")) for one in data])

    chunks = [encoded[start : start + CHUNK] for start in range(0, len(encoded), CHUNK)]
    with ThreadPoolExecutor() as pool:
        pixels = np.concatenate(list(pool.map(decode, chunks)))
    labels = torch.tensor(table.column("label").to_pylist())
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), labels


def made_up(number: int) -> "tuple[Tensor, Tensor]":
    """Return noisy images of one colour a class."""
    import torch

    labels = torch.arange(number) % len(CLASSES)
    colours = torch.randint(
        40, 216, (len(CLASSES), 3, 1, 1), generator=torch.Generator().manual_seed(0)
    )
    generator = torch.Generator().manual_seed(number)  # another noise in each split
    noise = torch.randint(-40, 40, (number, 3, 32, 32), generator=generator)
    return (colours[labels] + noise).clamp(0, 255).to(torch.uint8), labels
