"""Several devices and machines, through Lightning: it starts the processes and finds SLURM.

Every process runs the same command. None needs another one: they share the work through the
store's claims, so that one that is lost costs its open shard alone, and a later start with any
number of processes goes on.
"""

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sip.core import interrupt, progress
from sip.core.errors import UserError

STRATEGIES = ("auto", "ddp")
GRACE = 60.0  # s for the other processes to finish their batch when the first one fails


def check(trainer: Mapping[str, Any]) -> None:
    """Refuse settings that no machine could have.

    Raises:
        UserError: There are some.
    """
    for name, others in (("devices", ("auto",)), ("num_nodes", ())):
        value = trainer[name]
        if value not in others and (type(value) is not int or value < 1):
            expected = " or ".join(["a number >= 1", *others])
            raise UserError(f"trainer.{name}: expected {expected}, came {value!r}")
    if trainer["strategy"] not in STRATEGIES:
        known = ", ".join(STRATEGIES)
        raise UserError(f"trainer.strategy: expected one of {known}, came {trainer['strategy']!r}")


def several(trainer: Mapping[str, Any]) -> bool:
    """Return whether the settings name more than one device.

    Raises:
        UserError: As `check`.
    """
    check(trainer)
    return trainer["devices"] != 1 or trainer["num_nodes"] > 1


def num_processes(trainer: Mapping[str, Any], device: str) -> int:
    """Return how many processes the settings ask for, on all machines together."""
    devices = trainer["devices"]
    if devices == "auto":
        import torch

        devices = 1 if device == "cpu" else torch.cuda.device_count()
    return devices * trainer["num_nodes"]


@contextmanager
def launched(trainer: Mapping[str, Any], device: str) -> Iterator[str]:
    """Start the other processes of this job, if there are any; yield this process's device.

    Where the block fails, the other processes are asked to stop.

    Args:
        trainer: `devices`, `num_nodes` and `strategy`, as Lightning's Trainer takes them.
        device: What one process alone would use.

    Raises:
        UserError: The settings cannot be had on this machine.
    """
    if not several(trainer):
        yield device
        return
    _refuse_multirun(trainer)
    fabric = _fabric(trainer, device)
    launcher = fabric.strategy.launcher
    try:
        fabric.launch()
        progress.is_first = fabric.global_rank == 0
        interrupt.forward += [child.send_signal for child in getattr(launcher, "procs", [])]
        yield str(fabric.device)
    except BaseException:
        _end(getattr(launcher, "procs", []))
        raise
    finally:
        interrupt.forward.clear()


def _fabric(trainer: Mapping[str, Any], device: str) -> Any:
    from lightning_fabric import Fabric

    try:
        return Fabric(accelerator="cpu" if device == "cpu" else "cuda", **trainer)
    except (TypeError, ValueError, RuntimeError) as error:  # Lightning says what does not fit
        raise UserError(
            f"trainer: {' '.join(str(error).split())}; change trainer.devices, trainer.num_nodes, "
            "trainer.strategy or runtime.device"
        ) from error


def _refuse_multirun(trainer: Mapping[str, Any]) -> None:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    multirun = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    if multirun and "submitit" not in HydraConfig.get().launcher["_target_"]:
        raise UserError(
            f"trainer.devices={trainer['devices']}: several devices cannot be used for a "
            "multirun on one machine; leave -m out, or send the jobs to SLURM with "
            "hydra/launcher=submitit_slurm"
        )


def _end(children: list[Any]) -> None:
    """Ask the other processes to stop, once, and wait until they have."""
    import subprocess

    for child in children:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
    for child in children:
        try:
            child.wait(GRACE)
        except subprocess.TimeoutExpired:
            child.kill()
