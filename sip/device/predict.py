"""Trainer.predict over batches that are claimed as it goes, with reading ahead and writing behind.

The device waits for nothing but itself: images are read and prepared in background threads, rows
are encoded and stored in others, and the queues between them are bounded.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter
from torch.utils.data import DataLoader, IterableDataset

from sip.core.interrupt import reclaim, stop_requested
from sip.core.threads import Behind, prefetch
from sip.device.independent import prediction_trainer
from sip.device.settings import Devices, Runtime

Inputs = TypeVar("Inputs")
Row = TypeVar("Row")

AHEAD = 1  # batches that are read and wait, also the one that Lightning fetches in advance
BEHIND = 2  # batches whose rows wait to be stored


def predict(
    module: LightningModule,
    batches: Iterator[Inputs],
    read: Callable[[Inputs], Any],
    write: Callable[[list[Any]], None],
    runtime: Runtime,
    devices: Devices,
) -> None:
    """Let a module predict one batch after the other.

    Ends after the current batch if a stop is requested.

    Args:
        module: Its `predict_step` takes what `read` returns, and returns a list of rows.
        batches: Inputs of one batch each; pulled in another thread.
        read: Reads the images of a batch; called in several threads.
        write: Stores the rows of a batch; called in another thread, in order.
        runtime: Device settings of this process.
        devices: Devices of the whole job.

    Raises:
        Exception: What `batches`, `read`, `module` or `write` raises.
    """
    with (
        quiet(),
        prefetch(batches, read, runtime.num_workers, AHEAD) as ready,
        Behind(write, BEHIND) as behind,
    ):
        writer = RowWriter(behind)
        trainer = prediction_trainer(runtime.device, devices)
        trainer.callbacks = [writer]  # type: ignore[attr-defined]
        loader = DataLoader(
            ClaimedBatches(ready),
            batch_size=None,  # they are batches already
            collate_fn=_as_it_is,
            generator=torch.Generator(),  # else it would use up a number of the global one
        )
        try:
            trainer.predict(module, loader, return_predictions=False)
        except SystemExit:  # Lightning's way to end at an interrupt
            if writer.interrupt is None:
                raise
            raise writer.interrupt from None
        finally:
            trainer.callbacks = []  # type: ignore[attr-defined]
            trainer.predict(_Nothing(), [])  # lets go of the module
            module.trainer = None


class ClaimedBatches(IterableDataset[Any]):
    """Batches that this process has claimed, read in advance; an end is not known before.

    Claims belong to a process, so that a DataLoader has to read them with num_workers=0.
    """

    def __init__(self, ready: Iterator[tuple[Any, Any]]) -> None:
        self._ready = [ready]  # emptied: the Trainer keeps the data set until the next one

    def __iter__(self) -> Iterator[Any]:
        return (batch for _, batch in self._ready.pop())


class RowWriter(BasePredictionWriter):
    """Passes the rows of each batch on to a thread that stores them.

    Attributes:
        interrupt: The interrupt that ended the prediction, if one did.
    """

    def __init__(self, behind: Behind[list[Any]]) -> None:
        super().__init__("batch")
        self._behind = behind
        self.interrupt: KeyboardInterrupt | None = None

    def on_predict_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Take back the signals, for which the Trainer has its own handlers."""
        reclaim()

    def on_predict_batch_start(self, *args: Any, **kwargs: Any) -> None:
        """End the loop if a stop was requested; it holds a batch that was fetched in advance."""
        if stop_requested():
            raise StopIteration

    def write_on_batch_end(
        self, trainer: Trainer, module: LightningModule, prediction: Any, *args: Any
    ) -> None:
        """Queue the rows of a batch."""
        self._behind.put(prediction)

    def on_exception(
        self, trainer: Trainer, module: LightningModule, exception: BaseException
    ) -> None:
        """Remember an interrupt, for which the Trainer would exit with a code of its own."""
        if isinstance(exception, KeyboardInterrupt):
            self.interrupt = exception


class _Nothing(LightningModule):
    """A module without weights."""

    def forward(self) -> None:
        """Do nothing; the Trainer asks for this method."""


def _as_it_is(batch: Any) -> Any:
    return batch


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's remarks off the terminal; its errors are raised and stay."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(pytorch_)?lightning(\.|_|$)")
            # Lightning itself still uses a name that torch renamed.
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")
            yield
    finally:
        logger.setLevel(level)
