"""What a training would do, before it does it: steps, evaluations, time."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sip.core.errors import UserError
from sip.core.hashing import fingerprint_of
from sip.core.text import counted, format_duration
from sip.dataset.base import Sample
from sip.device.settings import Runtime, device, set_threads
from sip.jobs.baseline import not_trained_by
from sip.jobs.control import recipe_of
from sip.jobs.train_job import TrainJob
from sip.pipeline.planned import PlannedRows
from sip.records.read import finished_folders

if TYPE_CHECKING:
    from sip.classifier.recipe import Recipe

RUN = "the run"
CACHED = "the finished run is cached"
Splits = Mapping[str, Sequence[Sample]]


@dataclass(frozen=True)
class TrainingPlan:
    """Trainings of one recipe, and what they take.

    Attributes:
        trainings: Name -> key of each that is not cached.
        steps, batch_size: Optimiser steps of each, and images of each step.
        validations: At most; `classifier.patience` may end it before.
        num_val, num_test: Images.
        seconds: Estimated from a short measurement; None if it was not measured.
        reason: Why not.
    """

    trainings: Mapping[str, str]
    steps: int
    batch_size: int
    validations: int
    num_val: int
    num_test: int
    seconds: float | None
    reason: str = ""

    def lines(self) -> dict[str, str]:
        """Return the plan as names and values."""
        if not self.trainings:
            return {"to train": f"nothing, {CACHED}"}
        each = "" if len(self.trainings) == 1 else " each"
        images = counted(self.batch_size, "image")
        return {
            "to train": ", ".join(self.trainings),
            "optimiser steps": f"{self.steps:,}{each}, of {images}",
            "evaluations": f"{self.validations:,} of {counted(self.num_val, 'image')} of val, "
            f"1 of {counted(self.num_test, 'image')} of test{each}",
            "time to train": self._time(),
        }

    @property
    def work(self) -> list[PlannedRows]:
        """The trainings; the control of several runs has the same key in all."""
        each = None if self.seconds is None else self.seconds / max(1, len(self.trainings))
        return [
            PlannedRows("train", "", (key,), steps=self.steps, seconds=each, exact=name == RUN)
            for name, key in self.trainings.items()
        ]

    def _time(self) -> str:
        if self.seconds is None:
            return f"not measured: {self.reason}"
        return f"about {format_duration(self.seconds)}, by a short measurement"


def plan_training(job: TrainJob, unmeasured: str | None) -> TrainingPlan:
    """Count what a run's training takes, and measure a few steps of it.

    Args:
        job: The run.
        unmeasured: Why the classifier cannot be built; None if it can.

    Raises:
        UserError: The data set cannot be read.
    """
    splits = {part: job.dataset.samples(part) for part in ("train", "val", "test")}
    sources = _sources(job, splits["train"])
    recipe = job.classifier.resolved(len(job.augmentation.offline.pool(sources, job.config.seed)))
    trainings = trainings_of(job)
    seconds, reason = None, unmeasured or ""
    if trainings and unmeasured is None:
        try:
            seconds = len(trainings) * _seconds(job, recipe, splits, len(sources))
        except UserError as error:
            reason = str(error)
    return TrainingPlan(
        trainings=trainings,
        steps=recipe.steps,
        batch_size=recipe.batch_size,
        validations=recipe.steps // recipe.val_every,
        num_val=len(splits["val"]),
        num_test=len(splits["test"]),
        seconds=seconds,
        reason=reason,
    )


def _sources(job: TrainJob, samples: Sequence[Sample]) -> list[int | None]:
    """Return the position of the original of each training image, None for the real ones."""
    sources: list[int | None] = [None] * len(samples)
    if job.offline is not None:
        counts = job.offline.num_images(samples)
        for position, sample in enumerate(samples):
            sources += [position] * counts[sample.sample_id]
    return sources


def trainings_of(job: TrainJob) -> dict[str, str]:
    """Return what the job would train: name -> key."""
    runs = Path(job.config.paths.runs)
    trainings: dict[str, str] = {}
    if not (job.reuses and finished_folders(runs, job.fingerprint)):
        trainings[RUN] = job.fingerprint
    control = recipe_of(job.recipe)
    key = fingerprint_of(control)
    is_there = bool(finished_folders(runs, key))
    facts = job.components.facts if job.components else frozenset()
    if trainings and not is_there and "control" in facts:
        trainings["the control that the filter reads"] = f"control-{key}"
    if (
        job.config.train.baseline
        and control != job.recipe
        and not (is_there or not_trained_by(job))
    ):
        trainings["its baseline"] = key
    return trainings


def _seconds(job: TrainJob, recipe: "Recipe", splits: Splits, num_train: int) -> float:
    """Return the seconds of one training on the devices of the job."""
    import torch

    from sip.classifier.estimate import measure_steps
    from sip.classifier.features import can_be_kept
    from sip.classifier.loading import Loading

    runtime = Runtime.of(job.config.runtime)
    set_threads(runtime)
    place = device(job.config.runtime.device)
    num_processes = job.devices.num_processes(job.config.runtime.device)
    share = replace(recipe, batch_size=max(1, recipe.batch_size // num_processes))
    names = job.dataset.class_names
    times = measure_steps(job.backbone, share, job.augmentation, splits["train"], names, place)
    num_val, num_test = len(splits["val"]), len(splits["test"])
    decode = times.decode * (num_train + num_val + num_test)
    if can_be_kept(recipe, job.augmentation):  # the network reads each image once
        return decode + times.evaluate * (num_train + num_val + num_test) / num_processes
    loading = Loading.of(job.config.runtime, job.devices.num_local(job.config.runtime.device))
    workers = loading.num_workers(times.decode > 0, torch.device(place))
    change = times.change * share.batch_size
    step = max(times.step, change / workers) if workers else times.step + change
    evaluated = num_val * math.ceil(recipe.steps / recipe.val_every) + num_test
    return decode + recipe.steps * step + evaluated * times.evaluate / num_processes
