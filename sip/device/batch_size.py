"""The batch size that a device and a model like best, found once by trial and remembered.

A batch that does not fit all the same is worked on in halves.
"""

import json
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from sip.core.errors import UserError
from sip.core.files import write_atomically
from sip.core.progress import say

Result = TypeVar("Result")

LARGEST = 256
GAIN = 1.05  # a batch twice as large must bring at least that much more speed
ENOUGH = 20.0  # s; where one batch takes longer, larger ones are not tried
# What torch says where memory is short: on a GPU, on the CPU, and from its libraries.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def auto_batch_size(file: Path, model: str, device: str, trial: Callable[[int], None]) -> int:
    """Return the number of rows at a time that is fastest, and fits.

    Args:
        file: JSON in which the answer is remembered, by device and model.
        model: What tells the model and its settings from others.
        device: A torch device.
        trial: Runs that many rows.

    Raises:
        RuntimeError: Not even one row fits.
    """
    key = f"{_device_name(device)} {model}"
    known = _read(file)
    if key not in known:
        known[key] = _find(trial, device)
        say("batch size", f"{known[key]} rows at a time, by trial; remembered in {file}")
        with suppress(OSError):  # only a memory; a disk that is full says so in a better place
            write_atomically(file, json.dumps(known, indent=2) + "\n")
    return int(known[key])


class Pieces:
    """Works on the rows of batches in pieces that fit into the device's memory; learns their size.

    Args:
        name: The room, for its lines.
        remedy: What to do where one row alone does not fit.
    """

    def __init__(self, name: str, remedy: str) -> None:
        self.name, self.remedy = name, remedy
        self.limit: int | None = None  # rows; None until a batch did not fit

    def __call__(self, work: Callable[[slice], Iterable[Result]], num: int) -> list[Result]:
        """Return what `work` returns for all of `num` rows, at once or piece by piece.

        Raises:
            UserError: One row alone does not fit.
        """
        done: list[Result] = []
        while len(done) < num:
            size = min(self.limit or num, num - len(done))
            try:
                done += work(slice(len(done), len(done) + size))
            except RuntimeError as error:  # torch.OutOfMemoryError is one
                if not is_out_of_memory(error):
                    raise
                self._halve(size)
        return done

    def _halve(self, size: int) -> None:
        import torch

        if size == 1:
            raise UserError(
                f"{self.name}: one picture alone does not fit into the device's memory; use "
                f"{self.remedy}"
            ) from None
        self.limit = size // 2
        say(self.name, f"{size} rows at once do not fit into memory, going on with {size // 2}")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _read(file: Path) -> dict[str, int]:
    """Return what is remembered; a garbled file is only a memory lost."""
    try:
        known = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _find(trial: Callable[[int], None], device: str) -> int:
    trial(1)  # what is done at the first call only
    best, best_rate, size = 1, 0.0, 1
    while size <= LARGEST:
        try:
            seconds = _seconds(trial, size, device)
        except RuntimeError as error:
            if size == 1 or not is_out_of_memory(error):
                raise
            break
        rate = size / max(seconds, 1e-9)
        if rate < best_rate * GAIN:
            break
        best, best_rate = size, rate
        if seconds > ENOUGH:
            break
        size *= 2
    return best


def _seconds(trial: Callable[[int], None], size: int, device: str) -> float:
    import torch

    fastest = float("inf")
    for _ in range(2):
        started = time.perf_counter()
        trial(size)
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        fastest = min(fastest, time.perf_counter() - started)
    return fastest


def _device_name(device: str) -> str:
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"cpu ({torch.get_num_threads()} threads)"


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether torch ran out of memory, on whatever device."""
    import torch

    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(part in text for part in OUT_OF_MEMORY)
