"""The training itself, on Lightning's Trainer; killed, it goes on to the same weights."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import Logger
from torch.utils.data import DataLoader, Sampler

from sip.adapt.data import ExampleStream, collate
from sip.adapt.method import Method
from sip.adapt.module import LOG_EVERY, AdaptModule
from sip.classifier.positions import StreamPositions
from sip.classifier.resume import AtomicCheckpointIO, Checkpoints, StopTrainingError
from sip.core.errors import UserError
from sip.core.interrupt import graceful, raise_if_stopped
from sip.device.batch_size import is_out_of_memory
from sip.device.predict import quiet

NAME = "adapt"
PRECISIONS: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "float32": "32-true",
    "bfloat16": "bf16-mixed",
    "float16": "16-mixed",
}  # of images.dtype


def fit(
    module: AdaptModule,
    stream: ExampleStream,
    kept: Checkpoints,
    *,
    device: str,
    dtype: str,
    folder: Path,
    loggers: Sequence[Logger] = (),
    callbacks: Sequence[Callback] = (),
    steps: int | None = None,
) -> Trainer:
    """Train what the module trains.

    Args:
        module: The model.
        stream: Its images.
        kept: The checkpoint, from which it goes on.
        device: A torch device.
        dtype: Type of the frozen weights; decides the precision if that is "auto".
        folder: The run folder.
        loggers: Lightning's.
        callbacks: Further callbacks.
        steps: Optimiser steps; None: those of the method.

    Raises:
        Stopped: A stop was requested; the next start goes on from here.
        UserError: It does not fit into memory, or the loss is not finite.
    """
    method = module.method
    start = kept.steps()
    with quiet(), graceful():
        trainer = _trainer(method, device, dtype, folder, steps or method.steps, loggers)
        trainer.callbacks += [kept, *callbacks]  # type: ignore[attr-defined]
        loader = DataLoader(
            stream,
            batch_size=method.batch_size,
            sampler=_positions(method, start),
            collate_fn=collate,
            generator=torch.Generator(),
        )
        try:
            with suppress(StopTrainingError):  # `graceful` turns it into Stopped
                trainer.fit(
                    module, loader, ckpt_path=kept.path if start else None, weights_only=True
                )
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise _too_large(method) from error
        raise_if_stopped()
    return trainer


def _positions(method: Method, start: int) -> Sampler[int]:
    """Return the positions of the stream that are still to come, batch by batch."""
    batches = method.steps * method.accumulate
    return StreamPositions(batches, method.batch_size, start * method.accumulate)


def _trainer(
    method: Method,
    device: str,
    dtype: str,
    folder: Path,
    steps: int,
    loggers: Sequence[Logger],
) -> Trainer:
    place = torch.device(device)
    devices: Any = 1 if place.index is None else [place.index]
    precision = PRECISIONS[dtype] if method.precision == "auto" else method.precision
    return Trainer(
        accelerator="gpu" if place.type == "cuda" else "cpu",
        devices=devices,
        max_steps=steps,
        max_epochs=1,  # the stream is one pass
        accumulate_grad_batches=method.accumulate,
        precision=precision,
        gradient_clip_val=method.gradient_clip,
        logger=list(loggers) or False,
        log_every_n_steps=LOG_EVERY,
        default_root_dir=str(folder),
        enable_checkpointing=False,
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def _too_large(method: Method) -> UserError:
    smaller = ["method.gradient_checkpointing=true"] if not method.gradient_checkpointing else []
    if method.batch_size > 1:
        smaller.append("a smaller method.batch_size with as much more of method.accumulate")
    smaller.append("images.dtype=bfloat16")
    return UserError(
        f"adapt: a batch of {method.batch_size} images does not fit into the device's memory; "
        f"use {', or '.join(smaller)}"
    )
