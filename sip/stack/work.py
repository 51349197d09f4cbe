"""How a stack is trained on this machine: device, precision, time; nothing that names an image."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sip.core.errors import UserError
from sip.device.settings import device

PRECISIONS = ("auto", "float32", "bfloat16")


class OutOfTimeError(Exception):
    """The time limit was reached; a checkpoint was written."""


@dataclass(frozen=True)
class Work:
    """Settings of the machine.

    Attributes:
        folder: Folder of the stack; checkpoints, curves and samples go there.
        device: A torch device.
        bfloat16: Whether forward passes are in bfloat16 (autocast); weights stay float32.
        compile: Whether `torch.compile` is used.
        deadline: Seconds since the epoch after which no further step is taken; None: never.
        save_every: Seconds between checkpoints.
        samples_every: Seconds between images of samples.
        logger: The node `logger` of the configuration.
        values: The configuration, for W&B.
    """

    folder: Path
    device: str
    bfloat16: bool
    compile: bool
    deadline: float | None
    save_every: float
    samples_every: float
    logger: dict[str, Any]
    values: dict[str, Any]

    @property
    def is_late(self) -> bool:
        """Whether the time is over."""
        return self.deadline is not None and time.time() >= self.deadline

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context that forward passes run in."""
        kind = torch.device(self.device).type
        return torch.autocast(kind, torch.bfloat16, enabled=self.bfloat16)

    def compiled(self, *modules: nn.Module) -> None:
        """Compile modules in place if configured; the names of weights stay."""
        if self.compile:
            for module in modules:
                module.compile()

    @contextmanager
    def fast(self) -> Iterator[None]:
        """Let float32 products on a GPU use TF32 inside."""
        if torch.device(self.device).type != "cuda":
            yield
            return
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)


def bfloat16(precision: str, device_name: str) -> bool:
    """Return whether `precision` means bfloat16 on a device.

    Raises:
        UserError: There is no such precision, or the GPU has no bfloat16.
    """
    if precision not in PRECISIONS:
        raise UserError(f"precision: must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    is_gpu = torch.device(device_name).type == "cuda"
    able = is_gpu and torch.cuda.is_bf16_supported()
    if precision == "bfloat16" and is_gpu and not able:
        raise UserError("precision: must be float32 on this GPU, got bfloat16: it has none")
    return able if precision == "auto" else precision == "bfloat16"


def compiles(choice: Any, device_name: str) -> bool:
    """Return whether `compile` means yes on a device.

    Raises:
        UserError: It is neither auto, true nor false.
    """
    if choice not in ("auto", True, False):
        raise UserError(f"compile: must be auto, true or false, got {choice!r}")
    return torch.device(device_name).type == "cuda" if choice == "auto" else bool(choice)


def work_of(config: Any, folder: Path) -> Work:
    """Return the settings of the configuration.

    Raises:
        UserError: A value is wrong, or there is no such GPU.
    """
    from omegaconf import OmegaConf

    name = device(config.runtime.device)
    for key in ("time_limit", "samples_every"):
        value = config[key]
        if value is not None and (type(value) not in (int, float) or value <= 0):
            raise UserError(f"{key}: must be seconds > 0, or null, got {value!r}")
    if type(config.save_every) not in (int, float) or config.save_every < 0:
        raise UserError(f"save_every: must be seconds >= 0, got {config.save_every!r}")
    values: Any = OmegaConf.to_container(config, resolve=True)
    return Work(
        folder=folder,
        device=name,
        bfloat16=bfloat16(config.precision, name),
        compile=compiles(config.compile, name),
        deadline=None if config.time_limit is None else time.time() + config.time_limit,
        save_every=config.save_every,
        samples_every=config.samples_every or float("inf"),
        logger=values["logger"],
        values=values,
    )
