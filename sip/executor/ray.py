"""Actors of a Ray cluster: each loads one model; a driver sends them batches and commits the rows.

The driver is the only one that writes to the store, so nothing is locked, no row is committed
twice, and the machines of the actors need not see the store. It compares the batches with the
store before it sends any. If an actor or its node is lost, the driver sends its batches to another
one; if the driver is lost, the same command goes on. In either case the rows in hand are made
again, the same ones: a batch is sent as a whole.
"""

from typing import Any

from sip.core.component import Part, component, refuse
from sip.device.settings import Devices
from sip.executor.base import Executor
from sip.executor.cluster import load
from sip.executor.driver import Line, drive
from sip.executor.pool import ActorPool
from sip.executor.remote import RemoteMake
from sip.executor.static import handed_out
from sip.store.filling import Filling, Make, remove_leftovers, unfinished
from sip.store.stage import StageStore


@component
class Ray(Executor):
    """The actors of all stages, and the driver that sends them batches.

    Args:
        captions, scores, images: ActorPool of each stage; that of scores makes embeddings, too.
    """

    captions: Part[ActorPool]
    scores: Part[ActorPool]
    images: Part[ActorPool]

    def check(self, devices: Devices) -> None:
        """Check that Ray is installed, and that it starts the processes."""
        if devices.several:
            fix = "set executor.images.max_size to the number of devices"
            raise refuse("trainer.devices", "1 with executor=ray", devices.devices, fix)
        load()

    @property
    def is_remote(self) -> bool:
        """Whether models are loaded in other processes: they are."""
        return True

    @property
    def num_workers(self) -> int:
        """Number of actors that generate images, at most."""
        return self.images.max_size

    def run(self, filling: Filling[Any], make: Make[Any]) -> None:
        """Have actors make the missing batches; what has no model is made by the driver."""
        if not isinstance(make, RemoteMake):
            filling.work(make, handed_out(filling, filling.batches, float("inf")))
            return
        line = Line(filling, self.pool(make.remote.stage), make.remote)
        line.waiting.extend(list(batch) for batch in filling.batches if batch)
        line.is_closed = True
        drive([line])

    def sweep(self, stage: StageStore) -> None:
        """Remove what drivers have left unfinished and has not changed for a day."""
        remove_leftovers(unfinished(stage), None)

    def pool(self, stage: str) -> ActorPool:
        """Return the settings of the actors of a stage."""
        return {"captions": self.captions, "images": self.images}.get(stage, self.scores)
