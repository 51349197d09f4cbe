"""What an adaptation takes, before it is done: steps, passes, time and memory."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning import Callback, LightningModule, Trainer

from sip.adapt.data import Learnt, rows_key
from sip.classifier.resume import Checkpoints
from sip.core.text import counted, format_bytes, format_duration
from sip.pipeline.plan import NO_WEIGHTS

if TYPE_CHECKING:
    from sip.adapt.job import Adaptation

MEASURED = 3  # steps, after one that is slower
LATER = "known once the captions are made"


def plan_lines(work: "Adaptation") -> dict[str, str]:
    """Return the plan as names and values; measures a few steps if there is something to do."""
    method, prior = work.method, work.prior
    rows = work.rows(assumed=True)
    own = [row for row in rows if not row.is_prior]
    classes = counted(len(work.class_names), "class", "classes")
    lines = {"to learn": f"{counted(len(own), 'image')} of {classes}"}
    is_cached = work.has_texts and not any(work.stage.missing([rows_key(rows)]))
    if is_cached:
        return lines | {"to train": "nothing, the adapter is cached"}
    if not work.has_texts:
        lines["texts"] = LATER
    if prior is not None:
        missing = len(prior.missing())
        lines["class images"] = (
            f"{missing:,} to generate, {len(prior.prompts) - missing:,} cached; "
            f"{prior.evaluations():,} U-Net evaluations"
        )
    batches = method.steps * method.accumulate
    passes = batches * method.batch_size * (1 if prior is None else 2)
    several = f", {method.accumulate} times" if method.accumulate > 1 else ""
    lines["optimiser steps"] = (
        f"{method.steps:,}, of {counted(method.batch_size, 'image')}{several}"
    )
    lines["images through the U-Net"] = f"{passes:,} forward, {passes:,} backward"
    if work.missing is None:
        return lines | _measured(work, own)
    return lines | {"time to train": f"not measured: {NO_WEIGHTS}"}


def _measured(work: "Adaptation", own: Sequence[Learnt]) -> dict[str, str]:
    """Return what a few steps say of the whole; the images of the model are stood in for."""
    from sip.adapt.fit import fit
    from sip.adapt.training import Prepared

    method, device = work.method, work.runtime.device
    few = list(own[: method.batch_size])
    if work.prior is not None:
        few += [replace(row, is_prior=True) for row in few]
    prepared = Prepared(work.settings, method, few, device, work.config.seed)
    num = sum(weight.numel() for weight in prepared.trained.parameters())
    total = sum(weight.numel() for weight in prepared.loaded.family.parameters())
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        fit(
            prepared.module,
            prepared.stream,
            Checkpoints(Path(folder), "", accumulate=method.accumulate),
            device=device,
            dtype=work.settings.dtype,
            folder=Path(folder),
            callbacks=[clock],
            steps=1 + MEASURED,
        )
    size = len(prepared.trained.content())
    return {
        "trained": f"{num:,} weights of {total:,}, a file of {format_bytes(size)}",
        "time to train": f"about {format_duration(clock.seconds * method.steps)}, by {MEASURED} "
        "measured steps; without validation images",
        "memory": f"{format_bytes(_peak(device))} at most in these steps",
    }


class Clock(Callback):
    """Times the steps after the first one.

    Attributes:
        seconds: Time of a step.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._started: float | None = None

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, *_: Any
    ) -> None:
        """Begin after the first step; divide after the last."""
        import torch

        if module.device.type == "cuda":
            torch.cuda.synchronize(module.device)
        now, step = time.perf_counter(), trainer.global_step
        if self._started is None and step == 1:
            self._started = now
        elif self._started is not None and step > 1:
            self.seconds = (now - self._started) / (step - 1)


def _peak(device: str) -> int:
    """Return the largest memory so far, in bytes: of the device, or of this process."""
    import resource

    import torch

    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
