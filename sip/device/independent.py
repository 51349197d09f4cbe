"""A Lightning strategy for processes that share work through the store and nothing else.

Lightning's own strategies for several devices join the processes in a process group and wait for
all of them in every set-up and at every end, so that a lost process stops the others. Generation
needs none of this: each process takes batches through claims (`sip.store.claims`) and commits its
own rows. So here every collective operation does nothing, and no process group is made. Lightning
still finds the cluster, starts the processes, and gives each its device.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from lightning_fabric.utilities.distributed import _set_num_threads_if_needed
from pytorch_lightning import Trainer
from pytorch_lightning.strategies import ParallelStrategy
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from sip.device.settings import Devices


class Independent(ParallelStrategy):
    """One process for each device; none waits for another."""

    strategy_name = "independent"

    def __init__(self) -> None:
        super().__init__()
        self.num_nodes = 1  # the Trainer sets the number that it was given

    @property
    def num_processes(self) -> int:
        """Processes on this machine."""
        return len(self.parallel_devices or [])

    @property
    def root_device(self) -> torch.device:
        """The device of this process."""
        devices = self.parallel_devices
        assert devices
        return devices[self.local_rank if len(devices) > 1 else 0]

    def set_world_ranks(self) -> None:
        """Tell the cluster environment the rank of this process."""
        cluster = self.cluster_environment
        assert cluster is not None
        cluster.set_global_rank(self.node_rank * self.num_processes + self.local_rank)
        cluster.set_world_size(self.num_nodes * self.num_processes)
        rank_zero_only.rank = self.global_rank  # type: ignore[attr-defined]

    def launch(self, watched: bool) -> list[Any]:
        """Start the other processes of this machine, unless the cluster does; return them.

        Args:
            watched: Whether the loss of one ends them all.
        """
        cluster = self.cluster_environment
        assert cluster is not None
        kind = _SubprocessScriptLauncher if watched else _Unwatched
        launcher = kind(cluster, self.num_processes, self.num_nodes)
        launcher.launch(lambda: None)
        return launcher.procs

    def model_to_device(self) -> None:
        """Move the module to the device of this process."""
        assert self.model is not None
        self.model.to(self.root_device)

    def teardown(self) -> None:
        """Leave the module on its device: the next rows need it there."""

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Save nothing, e.g. when SLURM queues the job again: finished rows are in the store."""

    def barrier(self, name: str | None = None) -> None:
        """Do not wait."""

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        """Return the object of this process."""
        return obj

    def reduce(self, tensor: Any, group: Any = None, reduce_op: Any = "mean") -> Any:
        """Return the tensor of this process."""
        return tensor

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        """Return the decision of this process."""
        return decision


class _Unwatched(_SubprocessScriptLauncher):
    """Starts processes as Lightning does, without its thread that kills all if one is lost."""

    def launch(self, function: Callable[[], Any], *args: Any, **kwargs: Any) -> Any:
        cluster = self.cluster_environment
        cluster.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not cluster.creates_processes_externally:
            self._call_children_scripts()
        _set_num_threads_if_needed(self.num_processes)
        return function()


@cache
def prediction_trainer(device_name: str, devices: Devices) -> Trainer:
    """Return a Trainer that only predicts, and prints and writes nothing of its own.

    It is made once, since that takes 30 ms, and serves all stages of a process.

    Args:
        device_name: Device of this process; of several the kind counts.
        devices: Devices of the whole job.

    Raises:
        Exception: Lightning's, if the devices cannot be had.
    """
    device = torch.device(device_name)
    chosen: Any = devices.devices
    if not devices.several:
        chosen = 1 if device.type == "cpu" else [device.index or 0]
    return Trainer(
        accelerator=device.type,
        devices=chosen,
        num_nodes=devices.num_nodes,
        strategy=Independent(),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
