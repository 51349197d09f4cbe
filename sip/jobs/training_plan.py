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
    from sip.classifier.estimate import StepTimes
    from sip.classifier.recipe import Recipe

RUN = "the run"
CACHED = "the finished run is cached"
Splits = Mapping[str, Sequence[Sample]]


@dataclass(frozen=True)
class PlannedTraining:
    """A training that is not cached.

    Attributes:
        key: The same in all jobs that need it.
        steps: Optimiser steps.
        exact: Whether it takes as many; else at most, as a filter may leave fewer images.
        seconds: Estimated from a short measurement; None if it was not measured.
    """

    key: str
    steps: int
    exact: bool = True
    seconds: float | None = None

    @property
    def steps_text(self) -> str:
        """The number of its steps in words."""
        return f"{'' if self.exact else 'at most '}{self.steps:,}"


@dataclass(frozen=True)
class TrainingPlan:
    """Trainings of one recipe, and what they take.

    Attributes:
        trainings: By name.
        batch_size: Images of each step.
        validations: Validations of each at most; `classifier.patience` may end it before.
        num_val, num_test: Images.
        reason: Why the time was not measured, if it was not.
    """

    trainings: Mapping[str, PlannedTraining]
    batch_size: int
    validations: int
    num_val: int
    num_test: int
    reason: str = ""

    def lines(self) -> dict[str, str]:
        """Return the plan as names and values."""
        if not self.trainings:
            return {"to train": f"nothing, {CACHED}"}
        each = "" if len(self.trainings) == 1 else " each"
        images = counted(self.batch_size, "image")
        steps = [one.steps_text for one in self.trainings.values()]
        if len({*steps}) > 1:
            pairs = zip(steps, self.trainings, strict=True)
            steps = [", ".join(f"{text} for {name}" for text, name in pairs)]
        else:
            steps = [f"{steps[0]}{each}"]
        return {
            "to train": ", ".join(self.trainings),
            "optimiser steps": f"{steps[0]}, of {images}",
            "evaluations": f"{self.validations:,} of {counted(self.num_val, 'image')} of val, "
            f"1 of {counted(self.num_test, 'image')} of test{each}",
            "time to train": self._time(),
        }

    @property
    def work(self) -> list[PlannedRows]:
        """The trainings; the control of several runs has the same key in all."""
        return [
            PlannedRows(
                "train",
                "",
                (one.key,),
                steps=one.steps,
                seconds=one.seconds,
                exact=one.exact and name == RUN,
            )
            for name, one in self.trainings.items()
        ]

    def _time(self) -> str:
        if self.reason:
            return f"not measured: {self.reason}"
        seconds = sum(one.seconds or 0.0 for one in self.trainings.values())
        return f"about {format_duration(seconds)}, by a short measurement"


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
    num_real = len(splits["train"])
    num_pool = len(job.augmentation.offline.pool(sources, job.config.seed))
    recipe, plain = job.classifier.resolved(num_pool), job.classifier.resolved(num_real)
    trainings, reason = trainings_of(job), unmeasured or ""
    times = None
    if trainings and unmeasured is None:
        try:
            times = _measured(job, recipe, splits)
        except UserError as error:
            reason = str(error)
    made = job.components
    is_sifted = made is not None and (made.filter is not None or made.verdict is not None)
    planned = {}
    for name, key in trainings.items():  # all but the run itself have the real images only
        own, num = (recipe, len(sources)) if name == RUN else (plain, num_real)
        exact = own.steps == plain.steps or not is_sifted
        seconds = None if times is None else _seconds(job, own, splits, num, times)
        planned[name] = PlannedTraining(key, own.steps, exact, seconds)
    return TrainingPlan(
        trainings=planned,
        batch_size=recipe.batch_size,
        validations=recipe.steps // recipe.val_every,
        num_val=len(splits["val"]),
        num_test=len(splits["test"]),
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


def _measured(job: TrainJob, recipe: "Recipe", splits: Splits) -> "StepTimes":
    """Return the times of a few steps on a device of the job."""
    from sip.classifier.estimate import measure_steps

    set_threads(Runtime.of(job.config.runtime))
    place = device(job.config.runtime.device)
    names = job.dataset.class_names
    share = _share(job, recipe)
    return measure_steps(job.backbone, share, job.augmentation, splits["train"], names, place)


def _share(job: TrainJob, recipe: "Recipe") -> "Recipe":
    """Return the recipe with the images of a step on one device."""
    num_processes = job.devices.num_processes(job.config.runtime.device)
    return replace(recipe, batch_size=max(1, recipe.batch_size // num_processes))


def _seconds(
    job: TrainJob, recipe: "Recipe", splits: Splits, num_train: int, times: "StepTimes"
) -> float:
    """Return the seconds of one training on the devices of the job."""
    import torch

    from sip.classifier.features import can_be_kept
    from sip.classifier.loading import Loading

    place = device(job.config.runtime.device)
    num_processes = job.devices.num_processes(job.config.runtime.device)
    num_val, num_test = len(splits["val"]), len(splits["test"])
    decode = times.decode * (num_train + num_val + num_test)
    if can_be_kept(recipe, job.augmentation):  # the network reads each image once
        return decode + times.evaluate * (num_train + num_val + num_test) / num_processes
    loading = Loading.of(job.config.runtime, job.devices.num_local(job.config.runtime.device))
    workers = loading.num_workers(times.decode > 0, torch.device(place))
    change = times.change * _share(job, recipe).batch_size
    step = max(times.step, change / workers) if workers else times.step + change
    evaluated = num_val * math.ceil(recipe.steps / recipe.val_every) + num_test
    return decode + recipe.steps * step + evaluated * times.evaluate / num_processes
