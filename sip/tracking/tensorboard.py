"""TensorBoard: curves, final numbers and sheets of a run, as events in its folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.loggers import TensorBoardLogger

from sip.core.image_io import read_rgb
from sip.core.text import values_without_paths
from sip.pipeline.stored import StoredImage
from sip.tracking.safely import SafeLogging, Safely
from sip.tracking.wandb import SHEETS

EVENTS = "tensorboard"  # in the run folder


class SafeTensorBoard(SafeLogging, TensorBoardLogger):
    """Lightning's logger; the first failure is reported, and nothing is logged after it."""

    def finish(
        self, summary: Mapping[str, Any], folder: Path, images: Sequence[StoredImage]
    ) -> None:
        """Log the final numbers and the sheets, and close the file."""
        step = int(summary.get("best_step", 0))
        for name, value in summary.items():
            self.experiment.add_scalar(f"final/{name}", value, step)
        for name in SHEETS:
            if (file := folder / f"{name}.png").is_file():
                pixels = np.asarray(read_rgb(str(file), None))
                self.experiment.add_image(name, pixels, step, dataformats="HWC")
        self.finalize("success")


def start(folder: Path, values: Mapping[str, Any], safely: Safely) -> SafeTensorBoard:
    """Return a logger of a run that begins or goes on.

    Args:
        folder: The run folder.
        values: The configuration; `paths` are left out.
    """
    logger = SafeTensorBoard(folder, name="", version=EVENTS, default_hp_metric=False)
    logger.safely = safely
    shown = {key: value for key, value in values.items() if key != "paths"}
    logger.log_hyperparams(values_without_paths(shown))
    return logger
