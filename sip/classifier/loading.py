"""How pictures come to a classifier: kept in memory or read anew, by how many processes."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sip.classifier.base import Row
from sip.core.errors import UserError
from sip.core.image_io import file_sha256, read_rgb
from sip.core.memory import available
from sip.core.progress import progress

AUTO = "auto"
SHARE = 0.5  # of the free memory, where `memory_gib` is auto
BAR_AFTER = 3.0  # s of decoding until it shows a bar
CHUNK = 16  # pictures a thread takes at a time


@dataclass(frozen=True)
class Loading:
    """Settings of `conf/runtime`; they change nothing but the speed.

    Attributes:
        workers: Processes that read training pictures, and those of val and test that are not
            kept; "auto": none where the CPU trains and the training pictures are kept, else one a
            core.
        memory_gib: Decoded pictures that may be kept in memory, GiB, all splits together; "auto":
            half of what is free.

    Raises:
        UserError: A value is out of its range.
    """

    workers: int | str = AUTO
    memory_gib: float | str = AUTO

    def __post_init__(self) -> None:
        workers, memory = self.workers, self.memory_gib
        if workers != AUTO and (type(workers) is not int or workers < 0):
            raise UserError(
                f"runtime.loader_workers: expected auto, or 0 or more, came {workers!r}"
            )
        if memory != AUTO and not (type(memory) in (int, float) and 0 <= float(memory) < inf):
            raise UserError(f"runtime.memory_gib: expected auto, or 0 or more, came {memory!r}")

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> "Loading":
        """Return the settings of the configuration's node `runtime`."""
        return cls(node["loader_workers"], node["memory_gib"])

    def num_bytes(self) -> int:
        """Return how many bytes of decoded pictures may be kept."""
        if self.memory_gib == AUTO:
            return int(SHARE * available())
        return int(float(self.memory_gib) * 2**30)

    def num_workers(self, kept: bool, device: torch.device) -> int:
        """Return how many processes read.

        Args:
            kept: The training pictures are kept in memory.
            device: Where the network is trained.
        """
        if self.workers != AUTO:
            return int(self.workers)
        return 0 if kept and device.type == "cpu" else num_cores()


def num_cores() -> int:
    """Return how many cores this process may use."""
    known = getattr(os, "sched_getaffinity", None)  # Linux
    return len(known(0)) if known else os.cpu_count() or 1


def decode(path: str, size: int, sha256: str | None = None) -> np.ndarray:
    """Return a picture (3, size, size), uint8, cut to its central square.

    Args:
        sha256: Of the file, where it is known.

    Raises:
        UserError: It cannot be read, or is not the file that was written.
    """
    try:
        picture = read_rgb(path, size, sha256)
    except ValueError as error:
        raise UserError(f"classifier: {error}; mend or remove the file") from error
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))


def decode_all(rows: Sequence[Row], size: int) -> Tensor:
    """Return all pictures, (N, 3, size, size), uint8, decoded by one thread a core.

    Pillow works without Python's lock. Worker processes that are started later share the tensor:
    a forked one has the same pages, and to a spawned one torch hands it through shared memory.

    Raises:
        UserError: One cannot be read.
    """
    memory = torch.empty(len(rows), 3, size, size, dtype=torch.uint8)
    array = memory.numpy()  # in numpy: torch's operations in threads start threads of their own

    def fill(start: int) -> int:
        chunk = rows[start : start + CHUNK]
        for position, row in enumerate(chunk, start):
            array[position] = decode(row.path, size, file_sha256(row))
        return len(chunk)

    bar = progress("decode", len(rows), "image", delay=BAR_AFTER)
    with closing(bar), ThreadPoolExecutor(num_cores(), "decode") as pool:
        work = [pool.submit(fill, start) for start in range(0, len(rows), CHUNK)]
        try:
            for done in work:
                bar.update(done.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return memory
