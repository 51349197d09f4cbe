"""Stop a training when its loss is not finite, and list the images of that batch.

It stops before a checkpoint or a validation keeps the result. Reading a loss waits for the GPU, so
on a GPU the losses of several steps are read together: training stops a few steps late and still
names the right one. A batch depends on the seed and the step only, so its names are enough.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from sip.classifier.base import LabelledImage
from sip.core.errors import UserError
from sip.core.files import write_atomically

NAME = "not_finite.json"  # in the run folder


class Finite(Callback):
    """Watches the loss of each step.

    Args:
        folder: The run folder; gets `not_finite.json`.
        batch_of: Returns the images of a step.
        facts: Further values for the file: how the images were changed.
        every: Steps between two reads of the loss on a GPU.

    Raises:
        UserError: From the hooks, if a loss is not finite.
    """

    def __init__(
        self,
        folder: Path,
        batch_of: Callable[[int], Sequence[LabelledImage]],
        facts: Mapping[str, Any],
        every: int,
    ) -> None:
        self.folder, self.batch_of, self.facts, self.every = folder, batch_of, facts, every
        self._step = 0
        self._unseen: list[tuple[int, Tensor]] = []  # steps and their losses

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Remove the file of an earlier start."""
        (self.folder / NAME).unlink(missing_ok=True)

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_number: int
    ) -> None:
        """Note the step, which Lightning counts within the batch."""
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, *_: Any
    ) -> None:
        """Keep the loss; read it on a CPU, or when a read is due."""
        self._unseen.append((self._step, outputs["loss"].detach()))
        if module.device.type == "cpu" or len(self._unseen) >= self.every:
            self._check(trainer)

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Check, since the best weights are kept."""
        self._check(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Check, since the whole state is kept."""
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        seen, self._unseen = self._unseen, []
        if not seen:
            return
        losses = torch.stack([loss for _, loss in seen]).tolist()
        for (step, _), loss in zip(seen, losses, strict=True):
            if not isfinite(loss):
                self._stop(trainer, step, loss)

    def _stop(self, trainer: Trainer, step: int, loss: float) -> None:
        rows = self.batch_of(step)
        record = {
            "step": step,
            "loss": str(loss),
            **self.facts,
            "images": [
                {"sample_id": row.sample_id, "label": row.label, "file": row.path} for row in rows
            ],
        }
        write_atomically(self.folder / NAME, json.dumps(record, indent=2, default=str) + "\n")
        raise UserError(
            f"classifier: the loss is {loss} at step {step} of {trainer.max_steps}; its batch is "
            f"listed in {self.folder / NAME}; look at its images, or use a smaller "
            "classifier.lr, classifier.gradient_clip=1 or classifier.precision=32-true"
        )
