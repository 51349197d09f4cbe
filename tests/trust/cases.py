"""Bad input, one case each: what is given, and what the user must read of it.

A case is a function that does what a user would; it ends in an error, whose text the user sees, or
returns in words how it was handled.
"""

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from sip.core.errors import UserError
from tests.composing import composed


@dataclass(frozen=True)
class Case:
    """One bad input.

    Attributes:
        area: What is bad.
        name: What is given.
        act: What the user does, in an empty folder; returns how it was handled, if it was.
        words: Regular expression that the user's line matches.
    """

    area: str
    name: str
    act: Callable[[Path], str | None]
    words: str


def seen(case: Case, folder: Path) -> str:
    """Return the line that the user sees.

    Raises:
        Exception: The user would see a traceback.
    """
    try:
        return f"handled: {case.act(folder)}"
    except UserError as error:
        return str(error)


def configured(folder: Path, *overrides: str, name: str = "config") -> DictConfig:
    """Return a configuration as of the command line."""
    return composed(*overrides, name=name, folder=folder)


def train(*overrides: str) -> Callable[[Path], str | None]:
    """Return what checks a training with overrides: all that comes before its first costly step."""

    def act(folder: Path) -> str | None:
        from sip.core.stages import StageLog
        from sip.device.settings import Runtime
        from sip.jobs.objectives import Objectives
        from sip.jobs.splits import load_splits
        from sip.jobs.train_job import TrainJob
        from sip.jobs.training import require

        config = configured(folder, "augmentation=sip", "backbone=resnet_mini", *overrides)
        Runtime.of(config.runtime)
        job = TrainJob(config)
        Objectives(config, job.offline is not None)
        require(job)
        load_splits(job, StageLog())
        return "the run would start"

    return act


def data(choice: str, make: Callable[[Path], Any], *overrides: str) -> Callable[[Path], str | None]:
    """Return what checks a training on data that `make` puts into the folder."""

    def act(folder: Path) -> str | None:
        make(folder)
        key = "path" if choice == "huggingface" else "root"
        given = [f"dataset.{key}={folder}"]
        given += ["dataset.val_fraction=0.25"] if choice in ("image_folder", "webdataset") else []
        return train(f"dataset={choice}", *given, "dataset.shots=null", *overrides)(folder)

    return act


def weights(key: str, make: Callable[[Path], Any], *overrides: str) -> Callable[[Path], str | None]:
    """Return what checks a training with a model folder that `make` fills."""

    def act(folder: Path) -> str | None:
        model = folder / "model"
        model.mkdir()
        make(model)
        return train(f"{key}={model}", *overrides)(folder)

    return act


def task(name: str, make: Callable[[Path], Any], *overrides: str) -> Callable[[Path], str | None]:
    """Return what runs `sip.<name>` on what `make` puts into the folder."""

    def act(folder: Path) -> str | None:
        import importlib

        make(folder)
        module = "sip.evaluate" if name == "evaluate" else f"sip.{name}.__main__"
        given = [text.replace("FOLDER", str(folder)) for text in overrides]
        config = configured(folder, *given, name=name)
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            importlib.import_module(module).task(config)
        left_out = [line for line in shown.getvalue().splitlines() if line.startswith("left out")]
        return f"written; {'; '.join(left_out)}"

    return act
