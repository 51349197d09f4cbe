"""Lightning's Trainer as the engine uses it: it hands out batches, and says nothing itself."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import diffusers.utils.logging
import torch
import transformers.utils.logging
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader, Dataset

from sip.images.base import Sink

LOGGERS = ("pytorch_lightning", "lightning.pytorch", "lightning.fabric")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the libraries' bars, notices and hints; ours is the only progress bar."""
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric)\b")
        try:
            for name in LOGGERS:
                logging.getLogger(name).setLevel(logging.ERROR)
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


class HandOut(Callback):
    """Hands each batch's pictures on as soon as they are drawn."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Call the sink; Lightning's hook."""
        self.sink(outputs)


def trainer_device(device: torch.device | None) -> dict[str, Any]:
    """Return Lightning's words for one device."""
    if device is None or device.type == "cpu":
        return {"accelerator": "cpu", "devices": 1}
    return {"accelerator": device.type, "devices": [device.index or 0]}


def predict(
    module: LightningModule, batches: Dataset, sink: Sink, trainer_kwargs: dict[str, Any]
) -> None:
    """Run `module.predict_step` on each item of `batches` and hand its rows to `sink`."""
    with quiet():
        trainer = Trainer(
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[HandOut(sink)],
            **trainer_kwargs,
        )
        trainer.predict(module, DataLoader(batches, batch_size=None), return_predictions=False)
