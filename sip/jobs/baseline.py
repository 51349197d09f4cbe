"""The baseline of an arm: the same run with `augmentation=none`, a run of its own in `paths.runs`.

With `train.baseline=true` the main job trains it after its own run, or finds it, and shows both.
"""

import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from sip.config.provenance import command_line, is_multirun, job_with
from sip.core.hashing import fingerprint_of
from sip.core.progress import say
from sip.jobs.control import recipe_of
from sip.jobs.train_job import TrainJob
from sip.records.read import GENERATION, finished_folders
from sip.records.summary import BASE, TrainingSummary

CHANGES = ("augmentation=none", "train.baseline=false")
# Overrides of the arm that the baseline does without: it generates nothing, and its stages may not
# have the keys of the arm's.
REPLACED = ("augmentation", "train.baseline", *GENERATION, "filter")


@dataclass(frozen=True)
class Baseline:
    """The baseline's run.

    Attributes:
        summary: Its numbers.
        folder: Its folder.
    """

    summary: TrainingSummary
    folder: Path


def baseline_of(job: TrainJob, run: Callable[[TrainJob], TrainingSummary]) -> Baseline | None:
    """Return the baseline of a finished run; it is trained if it is not there.

    A job of a sweep, or of several processes, only finds it.

    Args:
        job: The arm.
        run: Carries out a run.

    Returns:
        None if the arm is the baseline itself, or if it is not there and is not trained here.
    """
    recipe = recipe_of(job.recipe)
    given = command_line()
    if recipe == job.recipe or not given["choices"]:
        return None
    is_there = finished_folders(Path(job.config.paths.runs), fingerprint_of(recipe))
    if not is_there and (why := not_trained_by(job)):
        say("baseline", f"none: {why}; run it with augmentation=none")
        return None
    kept = [text for text in given["overrides"] if _is_kept(text.lstrip("+~"))]
    with job_with([*kept, *CHANGES]) as config:
        baseline = TrainJob(config, job.dataset)
        summary = baseline.cached()
        if summary is None:
            say("baseline", "augmentation=none with the same seed, trained once and then cached")
            summary = run(baseline)
    return Baseline(summary, baseline.folder)


def _is_kept(name: str) -> bool:
    """Return whether the baseline takes an override of the arm over; the base transform, too."""
    bases = (BASE, BASE.replace("/", "."))
    return _is_below(name, bases) or not _is_below(name, REPLACED)


def _is_below(name: str, keys: Iterable[str]) -> bool:
    """Return whether an override sets one of these keys, or something below it."""
    return any(re.match(rf"{re.escape(key)}(?:[./@=]|$)", name) for key in keys)


def not_trained_by(job: TrainJob) -> str | None:
    """Return why this job only finds its baseline; None if it trains it."""
    if is_multirun():
        return "a sweep does not train it"
    num = job.devices.num_processes(job.config.runtime.device)
    return f"a job of {num} processes does not train it" if num > 1 else None


def tables_command(config: DictConfig) -> str:
    """Return the command that prints the table of an experiment's runs."""
    runs, experiment = str(config.paths.runs), config.experiment
    keys = {"experiment": experiment, "runs": None if runs == "runs" else runs}
    given = [f"{key}={value}" for key, value in keys.items() if value is not None]
    return shlex.join(["python", "-m", "sip.tables", *given])
