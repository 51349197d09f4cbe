"""What the classifier room takes and hands out: pictures with labels in, a `Result` out."""

from dataclasses import dataclass
from typing import Protocol

UNFINISHED = ".unfinished.ckpt"  # checkpoint of a training that has not ended, in its run folder


class Row(Protocol):
    """A labelled picture; a dataset's `Sample` is one."""

    @property
    def sample_id(self) -> str:
        """Unique within its split."""

    @property
    def path(self) -> str:
        """Of the picture file."""

    @property
    def label(self) -> int:
        """Class index."""


@dataclass(frozen=True)
class Picture:
    """A labelled picture that is no `Sample`: a drawn one.

    Attributes:
        source: The `sample_id` of its original.
        file_sha256: Of the file, which is checked whenever it is read.
    """

    sample_id: str
    path: str
    label: int
    source: str | None = None
    file_sha256: str | None = None


@dataclass(frozen=True)
class Result:
    """What a training came to.

    Attributes:
        best_step: Optimiser steps of the checkpoint that validation chose.
        best_epoch: The same in passes over the training pictures.
        steps: Optimiser steps taken.
        epochs: The same in passes over the training pictures.
        num_train: Training pictures, real and drawn.
        val_accuracy, test_accuracy: Top-1 of that checkpoint, in [0, 1].
        seconds: Of training, validation and test.
        history: A row a validation: `step`, `train/loss` (mean since the last), `val/loss`,
            `val/accuracy`, `lr`.
        checkpoint, predictions: Files in the run folder: the weights (safetensors), and a row a
            picture of val and test with `sample_id`, `split`, `label`, `logits` (Parquet).
    """

    best_step: int
    best_epoch: float
    steps: int
    epochs: float
    num_train: int
    val_accuracy: float
    test_accuracy: float
    seconds: float
    history: list[dict[str, float]]
    checkpoint: str
    predictions: str
