"""Several devices and machines, through Lightning: it starts the processes and finds SLURM.

Every process runs the same command. In generation none needs another one: they share the work
through the store's claims, so that a lost one costs its open shard and nothing else: the others do
its part. A later start with any number of processes goes on.
"""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sip.core import interrupt, progress
from sip.core.errors import UserError
from sip.device.settings import Devices

GRACE = 60.0  # s for the other processes to finish when the first one ends


@contextmanager
def launched(devices: Devices, device: str, watched: bool = False) -> Iterator[str]:
    """Start the other processes of this job, if there are any; yield the device of this process.

    They are started once and stay through all stages. If the block fails, they are asked to stop.

    Args:
        devices: Devices of the whole job.
        device: The device that a single process would use.
        watched: Whether the loss of a process ends all of them, since they cannot go on without
            it: for training.

    Raises:
        UserError: The settings cannot be had on this machine.
    """
    if not devices.several:
        yield device
        return
    _refuse_multirun(devices)
    strategy = _strategy(devices, device)
    children: list[Any] = []
    try:
        children = strategy.launch(watched)
        progress.is_first = strategy.is_global_zero
        interrupt.forward += [child.send_signal for child in children]
        yield str(strategy.root_device)
        for child in children:  # all rows are there: it only has to notice
            with suppress(subprocess.TimeoutExpired):
                child.wait(GRACE)
    except BaseException:
        _end(children)
        raise
    finally:
        interrupt.forward.clear()


def _strategy(devices: Devices, device: str) -> Any:
    from pytorch_lightning.utilities.exceptions import MisconfigurationException

    from sip.device.independent import prediction_trainer
    from sip.device.predict import quiet

    try:
        with quiet():
            return prediction_trainer(device, devices).strategy
    except (TypeError, ValueError, RuntimeError, MisconfigurationException) as error:
        raise UserError(
            f"trainer: {' '.join(str(error).split())}; change trainer.devices, trainer.num_nodes "
            "or runtime.device"
        ) from error


def _refuse_multirun(devices: Devices) -> None:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    multirun = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    if multirun and "submitit" not in HydraConfig.get().launcher["_target_"]:
        raise UserError(
            f"trainer.devices={devices.devices}: several devices cannot be used for a "
            "multirun on one machine; leave -m out, or send the jobs to SLURM with "
            "hydra/launcher=submitit_slurm"
        )


def _end(children: list[Any]) -> None:
    """Ask the other processes to stop, once, and wait until they have."""
    for child in children:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
    for child in children:
        try:
            child.wait(GRACE)
        except subprocess.TimeoutExpired:
            child.kill()
