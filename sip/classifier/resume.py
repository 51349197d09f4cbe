"""A training that was killed goes on at the step of its last checkpoint, to the same weights.

A checkpoint is written before a batch, never within one, so that it holds a whole number of steps:
weights, optimiser, schedule, the best weights so far and their curve. The images and all random
numbers are functions of the seed and the step. It is a file in the run folder, removed once the
results are written. Lightning's own file format, read with `weights_only=True`; each of its parts
has a checksum (CRC-32), which torch writes and does not compare: that is done here.
"""

import time
import zipfile
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.plugins.io import TorchCheckpointIO

from sip.classifier.base import UNFINISHED
from sip.core.errors import DamagedError
from sip.core.files import atomic_file, disk_error
from sip.core.interrupt import reclaim, stop_requested
from sip.core.progress import say

EVERY = 60.0  # s between checkpoints
SHARE = 0.02  # of the time that writing them may take, if it takes long
AGREE_EVERY = 10  # steps between questions to the first process, if there are several


class StopTrainingError(Exception):
    """A stop was requested, and the checkpoint is written."""


class Checkpoints(Callback):
    """Writes a checkpoint at intervals, and at once when a stop is requested.

    Args:
        folder: The run folder.
        rows: A digest of the training images; a checkpoint of other images is not used.
        name: Name of the training, in messages.
        accumulate: Batches of an optimiser step.
    """

    def __init__(
        self, folder: Path, rows: str, name: str = "classifier", accumulate: int = 1
    ) -> None:
        self.path, self.rows = folder / UNFINISHED, rows
        self.name, self.accumulate = name, accumulate
        self.every, self.last = EVERY, time.monotonic()
        self.earlier = 0.0  # s that were trained before an interruption
        self._started = time.monotonic()
        self._warned = False

    def steps(self) -> int:
        """Return the steps of the checkpoint in the run folder; 0 if there is none that fits."""
        if not self.path.exists():
            return 0
        try:
            check_sums(self.path)
            stored = torch.load(self.path, map_location="cpu", weights_only=True, mmap=True)
            ours = stored["callbacks"][self.state_key]
            steps, rows, seconds = int(stored["global_step"]), ours["rows"], float(ours["seconds"])
        except Exception as error:  # cut off by a crash of the machine, or not a checkpoint
            reason = error if isinstance(error, DamagedError) else type(error).__name__
            say(self.name, f"{self.path} cannot be read ({reason}); starting from step 0")
            return 0
        if rows != self.rows:
            say(self.name, "the training images are not the checkpoint's; starting from step 0")
            return 0
        self.earlier = seconds
        say(self.name, f"going on from step {steps}")
        return steps

    def remove(self) -> None:
        """Remove the checkpoint, and parts of it that a kill left."""
        for file in (self.path, *self.path.parent.glob(f".{self.path.name}.*.part")):
            file.unlink(missing_ok=True)

    def state_dict(self) -> dict[str, Any]:
        """Return what `steps` reads."""
        return {"rows": self.rows, "seconds": self.earlier + time.monotonic() - self._started}

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Undo Lightning's handler of SIGTERM, which would end the process within a batch."""
        reclaim()

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_number: int
    ) -> None:
        """Write a checkpoint when one is due.

        Raises:
            StopTrainingError: A stop was requested.
        """
        if batch_number % self.accumulate:
            return
        # Lightning counts one step too many after a restart, for its loggers only.
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step
        stop, due = stop_requested(), time.monotonic() - self.last >= self.every
        if trainer.world_size > 1:
            if batch_number % AGREE_EVERY:
                return
            stop, due = trainer.strategy.broadcast((stop, due))
        if not trainer.global_step or not (stop or due):
            if stop:
                raise StopTrainingError
            return
        started = time.monotonic()
        try:
            trainer.save_checkpoint(self.path)
        except Exception as error:
            if trainer.world_size > 1 or disk_error(error) is None:
                raise
            self._say_once(f"continuing without a new checkpoint: {disk_error(error)}")
        self.last = time.monotonic()
        self.every = max(self.every, (self.last - started) / SHARE)
        if stop:
            raise StopTrainingError

    def _say_once(self, text: str) -> None:
        """Continue without a checkpoint: a full disk does not stop the training."""
        if not self._warned:
            say(self.name, text)
        self._warned = True


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint whole or not at all, next to its final path.

    Lightning's own way goes through memory and the folder for temporary files, which may be small
    and where it leaves what a kill interrupts.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write a checkpoint; Lightning calls this in the first process only."""
        with atomic_file(Path(path)) as part, part.open("wb") as file:
            torch.save(checkpoint, file)


def check_sums(path: Path) -> None:
    """Compare a checkpoint's parts with their checksums.

    Raises:
        DamagedError: One is not what was written.
    """
    with zipfile.ZipFile(path) as archive:
        if archive.testzip() is not None:
            raise DamagedError("its checksum is not the one that it was written with")
