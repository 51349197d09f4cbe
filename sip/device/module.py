"""The LightningModules that Trainer.predict runs: batches in, rows of the store out."""

from abc import abstractmethod
from typing import Any, Protocol

from pytorch_lightning import LightningModule

from sip.device.batch_size import Halving


class Divisible(Protocol):
    """Rows that a module can work on together, or in parts."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def part(self, rows: slice) -> "Divisible":
        """Return some of the rows as a batch of their own."""


class PredictionModule(LightningModule):
    """A loaded model that makes rows; dropping it frees the memory of its weights.

    A batch that does not fit into the memory of the device is worked on in halves.

    Args:
        stage: Name of the stage, for messages.
        remedy: What to do if a single row does not fit.
    """

    def __init__(self, stage: str, remedy: str) -> None:
        super().__init__()
        self.halving = Halving(stage, remedy)

    def predict_step(self, batch: Any) -> list[Any]:
        """Return a row for each of the batch's."""
        return self.halving(lambda rows: self.rows(batch.part(rows)), len(batch))

    @abstractmethod
    def rows(self, batch: Any) -> list[Any]:
        """Return the rows of a batch that fits into memory, in its order."""
