"""The curve of a training: kept in its checkpoint, shown on the bar, plotted at the end."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from sip.adapt.module import LOG_EVERY
from sip.core.errors import UserError
from sip.core.files import atomic_file
from sip.device.bar import TrainingBar

WIDTH, HEIGHT = 6.4, 3.6  # in
SMOOTH = 10  # points of the curve in its moving mean


class Watch(TrainingBar):
    """Collects the mean loss of every few steps.

    Attributes:
        steps, losses: Points of the curve: the step, and the mean loss since the point before.
    """

    name = "adapt"

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.losses: list[float] = []
        self._recent: list[Tensor] = []
        self._step = 0

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Open the bar."""
        super().on_train_start(trainer, module)
        self._step = trainer.global_step
        self._recent = [loss.to(module.device) for loss in self._recent]  # a checkpoint's: the CPU

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, *_: Any
    ) -> None:
        """Note the loss; read the last few at a time, since each read waits for the device.

        Raises:
            UserError: The loss is not finite.
        """
        self._recent.append(outputs["loss"].detach())
        if trainer.global_step == self._step:  # within a step of several batches
            return
        self._step = trainer.global_step
        shown = {}
        if self._step % LOG_EVERY == 0 or self._step == trainer.max_steps:
            self._add_point(trainer)
            shown["loss"] = f"{self.losses[-1]:.4f}"
        self.bar.update(1, **shown)

    def _add_point(self, trainer: Trainer) -> None:
        # Lightning has divided each by the number of batches of a step.
        mean = float(torch.stack(self._recent).mean()) * trainer.accumulate_grad_batches
        self._recent = []
        if not math.isfinite(mean):
            raise UserError(
                f"adapt: the loss is not finite at step {self._step} of {trainer.max_steps}; use a "
                "smaller method.lr, method.gradient_clip=1 or method.precision=32-true"
            )
        self.steps.append(self._step)
        self.losses.append(mean)

    def state_dict(self) -> dict[str, Any]:
        """Return the curve, for a checkpoint."""
        recent = torch.stack(self._recent).cpu() if self._recent else torch.empty(0)
        return {"steps": self.steps, "losses": self.losses, "recent": recent}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore it."""
        self.steps, self.losses = list(state_dict["steps"]), list(state_dict["losses"])
        self._recent = list(state_dict["recent"])


def plot_curve(steps: Sequence[int], losses: Sequence[float], path: Path) -> None:
    """Plot the loss over the steps, with its moving mean, as PNG."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure((WIDTH, HEIGHT), dpi=100, layout="constrained")
    axes = figure.subplots()
    (line,) = axes.plot(
        steps, losses, color="0.75", linewidth=1, label=f"mean of {LOG_EVERY} steps"
    )
    line.set_marker("o" if len(steps) < SMOOTH else "")  # few points make a short line, or none
    means = [
        sum(losses[max(0, end - SMOOTH) : end]) / min(end, SMOOTH)
        for end in range(1, len(losses) + 1)
    ]
    axes.plot(steps, means, color="C0", label=f"mean of {LOG_EVERY * SMOOTH} steps")
    axes.set(xlabel="optimiser step", ylabel="loss", xlim=(0, None), ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.legend(frameon=False)
    with atomic_file(path) as part:
        figure.savefig(part, format="png")
