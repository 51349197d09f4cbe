"""Several devices and machines, through Lightning: it starts the processes and finds SLURM.

Every process runs the same command. None needs another one: they share the work through the
store's claims, so that one that is lost costs its open shard alone, and a later start with any
number of processes goes on.
"""

from collections.abc import Mapping
from typing import Any

from sip.common import interrupt, progress
from sip.common.errors import UserError


def several(trainer: Mapping[str, Any]) -> bool:
    """Return whether the settings name more than one device."""
    return trainer["devices"] not in (1, "1") or int(trainer["num_nodes"]) > 1


def num_processes(trainer: Mapping[str, Any]) -> int:
    """Return how many processes the settings ask for, on all machines together."""
    devices = trainer["devices"]
    if isinstance(devices, str) and not devices.isdigit() or devices == -1:  # "auto", "0,1"
        import torch

        listed = isinstance(devices, str) and "," in devices
        num = len(devices.split(",")) if listed else max(1, torch.cuda.device_count())
    else:
        num = len(devices) if isinstance(devices, list | tuple) else int(devices)
    return num * int(trainer["num_nodes"])


def launch(trainer: Mapping[str, Any], device: str) -> str:
    """Start the other processes of this job, if there are any; return this process's device.

    Args:
        trainer: `devices`, `num_nodes` and `strategy`, as Lightning's Trainer takes them.
        device: What one process alone would use.

    Raises:
        UserError: The settings cannot be had on this machine.
    """
    if not several(trainer):
        return device
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    multirun = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    if multirun and "submitit" not in HydraConfig.get().launcher["_target_"]:
        raise UserError(
            f"trainer.devices={trainer['devices']}: several devices cannot be used for a "
            "multirun on one machine; leave -m out, or send the jobs to SLURM with "
            "hydra/launcher=submitit_slurm"
        )
    from lightning_fabric import Fabric

    accelerator = "cpu" if device == "cpu" else "cuda"
    try:
        fabric = Fabric(
            accelerator=accelerator,
            devices=trainer["devices"],
            num_nodes=int(trainer["num_nodes"]),
            strategy=trainer["strategy"],
        )
    except (ValueError, RuntimeError) as error:  # Lightning says what does not fit
        raise UserError(
            f"trainer: {' '.join(str(error).split())}; change trainer.devices, trainer.num_nodes, "
            "trainer.strategy or runtime.device"
        ) from error
    fabric.launch()
    progress.is_first = fabric.global_rank == 0
    launcher = fabric.strategy.launcher
    children = getattr(launcher, "procs", [])
    interrupt.forward += [child.send_signal for child in children]
    return str(fabric.device)
