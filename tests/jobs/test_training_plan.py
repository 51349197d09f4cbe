"""What a plan says of the training: counts from the configuration, time from a few steps."""

from pathlib import Path

import pytest

from sip.classifier.estimate import StepTimes
from sip.jobs import training
from sip.jobs.train import train
from sip.jobs.train_job import TrainJob
from sip.jobs.training_plan import TrainingPlan, plan_training
from sip.weights.missing import Missing, MissingWeightsError
from tests.composing import composed
from tests.records.made_up import training_summary, write_run

SHORT = [
    "dataset.shots=1",
    "classifier.steps=40",
    "classifier.val_every=20",
    "classifier.warmup_steps=4",
]
SHORT += ["classifier.warmup_steps=1", "backbone=resnet_mini", "runtime.num_threads=1"]


def plan(folder: Path, *overrides: str, unmeasured: str | None = "no weights") -> TrainingPlan:
    return plan_training(TrainJob(composed(*SHORT, *overrides, folder=folder)), unmeasured)


def test_steps_and_evaluations_are_counted_and_the_time_is_measured(tmp_path: Path) -> None:
    made = plan(tmp_path, "augmentation=randaugment", unmeasured=None)
    run = made.trainings["the run"]
    assert (run.steps, made.validations, made.num_val, made.num_test) == (40, 2, 160, 477)
    assert run.seconds is not None and 0 < run.seconds < 600
    assert made.lines()["time to train"].endswith(" s, by a short measurement")
    assert not (tmp_path / "runs").exists()


def test_what_is_not_measured_says_why(tmp_path: Path) -> None:
    lines = plan(tmp_path).lines()
    assert lines["time to train"] == "not measured: no weights"
    assert lines["optimiser steps"] == "40, of 32 images"
    assert lines["evaluations"] == "2 of 160 images of val, 1 of 477 images of test"


def test_passes_count_the_images_that_are_still_to_be_generated(tmp_path: Path) -> None:
    epochs = ["classifier.budget=epochs", "classifier.epochs=3", "classifier.batch_size=10"]
    assert plan(tmp_path, *epochs).trainings["the run"].steps == 3  # of 10 images
    arm = [*epochs, "augmentation=sip", "images.per_sample=4"]
    made = plan(tmp_path, *arm)
    assert (made.trainings["the run"].steps, made.validations) == (15, 3)  # of 50
    made = plan(tmp_path, *arm, "train.baseline=true")
    assert made.lines()["optimiser steps"] == "15 for the run, 3 for its baseline, of 10 images"
    assert [rows.steps for rows in made.work] == [15, 3]
    sifted = plan(tmp_path, *arm, "filter=similarity")
    assert sifted.lines()["optimiser steps"] == "at most 15, of 10 images"
    assert [rows.exact for rows in sifted.work] == [False]
    assert plan(tmp_path, *arm[3:], "filter=similarity").work[0].exact  # a budget of steps


def test_the_time_of_a_baseline_is_that_of_its_own_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def times(*_: object) -> StepTimes:
        measured.append(1)
        return StepTimes(step=1.0, evaluate=0.0, decode=0.0, change=0.0)

    monkeypatch.setattr("sip.classifier.estimate.measure_steps", times)
    epochs = ["classifier.budget=epochs", "classifier.epochs=3", "classifier.batch_size=10"]
    arm = ["augmentation=sip", "images.per_sample=4", "train.baseline=true"]
    made = plan(tmp_path, *epochs, *arm, unmeasured=None)
    assert [one.seconds for one in made.trainings.values()] == [15.0, 3.0]
    assert made.lines()["time to train"] == "about 18 s, by a short measurement"
    assert len(measured) == 1


def test_a_cached_run_and_its_baseline_are_told_apart(tmp_path: Path) -> None:
    arm = ["augmentation=cutmix", "train.baseline=true"]
    made = plan(tmp_path, *arm)
    assert list(made.trainings) == ["the run", "its baseline"]
    assert made.lines()["optimiser steps"] == "40 each, of 32 images"
    config = composed(*SHORT, *arm, folder=tmp_path)
    job = TrainJob(config)
    summary = training_summary(fingerprint=job.fingerprint, recipe=job.recipe)
    write_run(Path(config.paths.runs) / f"x-{job.fingerprint}", summary)
    assert list(plan(tmp_path, *arm).trainings) == ["its baseline"]
    (lines,) = [plan(tmp_path, "augmentation=cutmix").lines()]
    assert lines == {"to train": "nothing, the finished run is cached"}


def test_a_cached_run_generates_nothing_whatever_the_store_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = composed(*SHORT, "augmentation=sip", "plan=true", folder=tmp_path)
    job = TrainJob(config)
    summary = training_summary(fingerprint=job.fingerprint, recipe=job.recipe)
    write_run(Path(config.paths.runs) / f"x-{job.fingerprint}", summary)
    monkeypatch.setattr("sip.jobs.training.missing_weights", lambda *_: pytest.fail("it looked"))
    train(config)
    said = capsys.readouterr().out
    assert "to generate  nothing: the finished run is cached\n" in said
    assert "to train     nothing, the finished run is cached\n" in said


@pytest.mark.parametrize(
    ("runtime", "time"),
    [("default", "about "), ("gpu", "not measured: the device is not on this machine")],
)
def test_the_plan_of_an_arm_without_generation(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    runtime: str,
    time: str,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    chosen = ["augmentation=none", "plan=true", f"runtime={runtime}"]
    config = composed(*SHORT, *chosen, folder=tmp_path)
    assert train(config) is None
    said = capsys.readouterr().out
    assert "to generate      nothing: this arm is trained on the real images\n" in said
    assert f"\ntime to train    {time}" in said


@pytest.mark.parametrize("lacks", [False, True])
def test_what_the_models_know_is_said_once(tmp_path: Path, monkeypatch, lacks: bool) -> None:
    said = []
    error = MissingWeightsError.of(Missing("a/b", "")) if lacks else None
    monkeypatch.setattr(training, "say_what_models_know", said.append)
    monkeypatch.setattr(training, "missing_weights", lambda *_: error)
    job = TrainJob(composed(*SHORT, "augmentation=sip", folder=tmp_path))
    monkeypatch.setattr(type(job.dataset), "samples", lambda *_: 1 / 0)  # the plan goes no further
    with pytest.raises(ZeroDivisionError):
        training.print_plan(job)
    assert len(said) == 1


def test_a_run_that_is_made_again_is_planned(tmp_path: Path) -> None:
    arm = ["augmentation=cutmix", "train.baseline=true"]
    config = composed(*SHORT, *arm, folder=tmp_path)
    job = TrainJob(config)
    summary = training_summary(fingerprint=job.fingerprint, recipe=job.recipe)
    write_run(Path(config.paths.runs) / f"x-{job.fingerprint}", summary)
    for again in ("train.reuse=false", "retry=failed"):
        assert list(plan(tmp_path, *arm, again).trainings) == ["the run", "its baseline"]
    assert list(plan(tmp_path, *arm, "trainer.devices=2").trainings) == []
