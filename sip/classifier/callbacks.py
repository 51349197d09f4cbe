"""Callbacks of a training: the best checkpoint, the curve, the progress bar."""

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from sip.classifier.module import Classifier
from sip.device.bar import TrainingBar

KEPT = ("step", "accuracy", "weights", "logits", "history")


class KeepBest(Callback):
    """Keeps the weights with the highest validation accuracy in memory; ties: the earlier.

    Attributes:
        step: Optimiser steps at that validation.
        accuracy: Top-1, in [0, 1]; -1 before the first validation.
        weights: The network's state, on the CPU.
        logits: (N, num_classes), float32, on val.
        history: A row for each validation, see `sip.classifier.base.Result`.
    """

    def __init__(self) -> None:
        self.step, self.accuracy = 0, -1.0
        self.weights: dict[str, Tensor] = {}
        self.logits = torch.empty(0)
        self.history: list[dict[str, float]] = []

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Write the curve's row; copy the weights if they are better than all before."""
        assert isinstance(module, Classifier)
        shown = {name: float(value) for name, value in trainer.callback_metrics.items()}
        accuracy = shown["val/accuracy"]
        self.history.append(
            {
                "step": trainer.global_step,
                "train/loss": float(module.train_loss.compute()),
                "val/loss": shown["val/loss"],
                "val/accuracy": accuracy,
                "lr": trainer.optimizers[0].param_groups[0]["lr"],
            }
        )
        module.train_loss.reset()
        if accuracy > self.accuracy:
            self.step, self.accuracy, self.logits = trainer.global_step, accuracy, module.logits
            state = module.weights()
            self.weights = {name: value.detach().cpu().clone() for name, value in state.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return all of it, for a checkpoint."""
        return {name: getattr(self, name) for name in KEPT}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore from a checkpoint."""
        vars(self).update(state_dict)


class Bar(TrainingBar):
    """With loss, last and best accuracy."""

    name = "classifier"

    def __init__(self, best: KeepBest, every: int) -> None:
        self.best, self.every = best, every  # steps between looks at the loss: each one waits
        self.shown: dict[str, str] = {}

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, *_: Any
    ) -> None:
        """Advance by a step."""
        if trainer.global_step % self.every == 0:
            self.shown["loss"] = f"{float(outputs['loss']):.3f}"
        self.bar.update(1, **self.shown)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Show the accuracy that was just measured, and the best one so far."""
        if hasattr(self, "bar"):
            accuracy = float(trainer.callback_metrics["val/accuracy"])
            self.shown |= {"val": f"{accuracy:.3f}", "best": f"{self.best.accuracy:.3f}"}
            self.bar.set_postfix(self.shown)
