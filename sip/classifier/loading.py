"""How images reach a classifier: kept in memory or read again, by how many processes."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from sip.classifier.base import LabelledImage
from sip.core.component import component
from sip.core.errors import UserError, ValueRefusedError
from sip.core.image_io import file_sha256, read_rgb
from sip.core.memory import available
from sip.core.progress import progress
from sip.core.ranges import Count, NotNegative
from sip.core.threads import num_cores

AUTO: Literal["auto"] = "auto"
SHARE = 0.5  # of the free memory, if `memory_gib` is auto
BAR_AFTER = 3.0  # s of decoding until it shows a bar
CHUNK = 16  # images a thread takes at a time


@component
class Loading:
    """Settings of `conf/runtime`; they affect only the speed.

    Attributes:
        loader_workers: Processes that read training images, and those of val and test that are not
            kept; "auto": none if the CPU trains and the training images are kept, else one a core.
        memory_gib: Decoded images that may be kept in a machine's memory, GiB, all splits and
            devices together; "auto": half of what is free.
        num_sharing: Processes on this machine that train together, each on its device, and share
            its memory and its cores.
    """

    loader_workers: Annotated[int, Field(ge=0)] | Literal["auto"] = AUTO
    memory_gib: NotNegative | Literal["auto"] = AUTO
    num_sharing: Count = 1

    @classmethod
    def of(cls, node: Mapping[str, Any], num_sharing: int = 1) -> "Loading":
        """Return the settings of the configuration's node `runtime`.

        Args:
            node: The node.
            num_sharing: As above.

        Raises:
            UserError: A value is out of its range.
        """
        try:
            return cls(node["loader_workers"], node["memory_gib"], num_sharing)
        except ValueRefusedError as error:
            raise error.below("runtime") from None

    def num_bytes(self) -> int:
        """Return how many bytes of decoded images this process may keep."""
        most = SHARE * available() if self.memory_gib == AUTO else float(self.memory_gib) * 2**30
        return int(most / self.num_sharing)

    def num_workers(self, kept: bool, device: torch.device) -> int:
        """Return how many processes read for this one.

        Args:
            kept: The training images are kept in memory.
            device: Device on which the network is trained.
        """
        if self.loader_workers != AUTO:
            return int(self.loader_workers)
        if kept and device.type == "cpu":
            return 0
        return max(1, num_cores() // self.num_sharing)


def decode(path: str, size: int, sha256: str | None = None) -> np.ndarray:
    """Return an image (3, size, size), uint8, cut to its central square.

    Args:
        sha256: Hash of the file, if it is known.

    Raises:
        UserError: It cannot be read, or is not the file that was written.
    """
    try:
        image = read_rgb(path, size, sha256)
    except ValueError as error:
        raise UserError(f"classifier: {error}; fix or remove the file") from error
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def decode_all(rows: Sequence[LabelledImage], size: int) -> Tensor:
    """Return all images, (N, 3, size, size), uint8, decoded by one thread a core.

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
