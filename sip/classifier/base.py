"""Input and output of a training: labelled images, and a `Result`."""

from dataclasses import dataclass
from typing import Protocol

UNFINISHED = ".unfinished.ckpt"  # checkpoint of a training that has not ended, in its run folder


class LabelledImage(Protocol):
    """A labelled image; a dataset's `Sample` is one."""

    @property
    def sample_id(self) -> str:
        """Unique within its split."""

    @property
    def path(self) -> str:
        """Path of the image file."""

    @property
    def label(self) -> int:
        """Class index."""


@dataclass(frozen=True)
class TrainingImage:
    """A labelled image that is no `Sample`: a generated one.

    Attributes:
        source: The `sample_id` of its original.
        file_sha256: Hash of the file, which is checked whenever it is read.
        probability: Probability of the label by the verdict on the image; None if there is none.
        source_label: Class of its original, if `label` is another one; else None.
        label_share: Share in [0, 1] of `label` in the target; the rest is `source_label`'s.
    """

    sample_id: str
    path: str
    label: int
    source: str | None = None
    file_sha256: str | None = None
    probability: float | None = None
    source_label: int | None = None
    label_share: float = 1.0


@dataclass(frozen=True)
class Result:
    """The outcome of a training.

    Attributes:
        best_step: Optimiser steps of the checkpoint that validation chose.
        best_epoch: The same in passes over the training images.
        steps: Optimiser steps taken.
        epochs: The same in passes over the training images.
        num_train: Images that the training may show, real and generated.
        val_accuracy, test_accuracy: Top-1 of that checkpoint, in [0, 1].
        seconds: Time of training, validation and test, that before an interruption included.
        earlier: Those before an interruption.
        history: A row for each validation: `step`, `train/loss` (mean since the last), `val/loss`,
            `val/accuracy`, `lr`.
        classifier: Folder in the run folder, in timm's hub layout (`sip.backbone.saved`).
        predictions: File in the run folder: a row an image of val and test with `sample_id`,
            `split`, `label`, `logits` (Parquet).
    """

    best_step: int
    best_epoch: float
    steps: int
    epochs: float
    num_train: int
    val_accuracy: float
    test_accuracy: float
    seconds: float
    earlier: float
    history: list[dict[str, float]]
    classifier: str
    predictions: str
