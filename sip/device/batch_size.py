"""The batch size: found by trial and remembered, or halved until a batch fits into memory."""

import json
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from sip.core.errors import UserError
from sip.core.files import write_atomically
from sip.core.progress import say
from sip.core.text import counted

Result = TypeVar("Result")

LARGEST = 256
GAIN = 1.05  # a batch twice as large must be at least that much faster
ENOUGH = 20.0  # s; if one batch takes longer, larger ones are not tried
# How torch says that memory is short: on a GPU, on the CPU, and from its libraries.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def auto_batch_size(file: Path, model: str, device: str, trial: Callable[[int], object]) -> int:
    """Return the number of rows at a time that is fastest, and fits.

    Args:
        file: JSON in which the answer is remembered, by device and model.
        model: Tells the model and its settings from others.
        device: A torch device.
        trial: Runs that many rows.

    Raises:
        RuntimeError: Not even one row fits.
    """
    key = f"{_device_name(device)} {model}"
    known = _read(file)
    if key not in known:
        known[key] = _find(trial, device)
        say("batch size", f"{counted(known[key], 'row')} at a time, by trial; remembered in {file}")
        with suppress(OSError):  # only a memory; a full disk is reported in a better place
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, json.dumps(known, indent=2) + "\n")
    return int(known[key])


class Halving:
    """Works on rows, at once or in parts that fit into memory; remembers the size that fits.

    Args:
        stage: Name of the stage, for messages.
        remedy: What to do if a single row does not fit.
    """

    def __init__(self, stage: str, remedy: str) -> None:
        self.stage, self.remedy = stage, remedy
        self.limit: int | None = None  # rows; None until a batch did not fit

    def __call__(self, work: Callable[[slice], Iterable[Result]], num: int) -> list[Result]:
        """Return what `work` returns for all of `num` rows, at once or part by part.

        Raises:
            UserError: A single row does not fit.
        """
        done: list[Result] = []
        while len(done) < num:
            size = min(self.limit or num, num - len(done))
            try:
                done += work(slice(len(done), len(done) + size))
                continue
            except RuntimeError as error:  # torch.OutOfMemoryError is one
                if not is_out_of_memory(error):
                    raise
            self._halve(size)  # behind the error, which holds the tensors of the batch
        return done

    def _halve(self, size: int) -> None:
        import torch

        if size == 1:
            raise UserError(
                f"{self.stage}: a single image does not fit into the memory of the device; use "
                f"{self.remedy}"
            )
        self.limit = size // 2
        say(self.stage, f"{size} rows at once do not fit into memory, going on with {size // 2}")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _read(file: Path) -> dict[str, int]:
    """Return what is remembered; a garbled file is only a memory lost."""
    try:
        known = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _find(trial: Callable[[int], object], device: str) -> int:
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


def _seconds(trial: Callable[[int], object], size: int, device: str) -> float:
    fastest = float("inf")
    for _ in range(2):
        started = time.perf_counter()
        trial(size)
        synchronize(device)
        fastest = min(fastest, time.perf_counter() - started)
    return fastest


def synchronize(device: str) -> None:
    """Wait until the device has done its work."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)


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
