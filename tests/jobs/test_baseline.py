"""The baseline of an arm: what it is, and which jobs train it."""

from pathlib import Path

import pytest

from sip.config.provenance import choice, command_line
from sip.core.hashing import digest
from sip.jobs.baseline import baseline_of
from sip.jobs.control import recipe_of
from sip.jobs.train_job import TrainJob
from sip.records.summary import TrainingSummary
from tests.jobs.conftest import HydraJob
from tests.records.made_up import training_summary, write_run

ARM = ["+exp=quick", "prompts.noise_rate=0.75", "augmentation/mix=cutmix", "seed=3"]


def arm(hydra_job: HydraJob, runs: Path, *overrides: str) -> TrainJob:
    """Return a job of an arm, of which nothing is trained."""
    return TrainJob(hydra_job([*ARM, f"paths.runs={runs}", *overrides]))


def never(job: TrainJob) -> TrainingSummary:
    raise AssertionError(f"{job.name} is trained")


def test_it_is_the_same_run_with_augmentation_none(hydra_job: HydraJob, tmp_path: Path) -> None:
    seen: dict[str, object] = {}

    def run(job: TrainJob) -> TrainingSummary:
        seen.update(name=job.name, recipe=job.recipe, choice=choice("augmentation"))
        return training_summary()

    job = arm(hydra_job, tmp_path)
    baseline = baseline_of(job, run)
    assert job.name == "resnet_mini-sip_cutmix-seed3"
    assert seen["name"] == "resnet_mini-none-seed3" and seen["choice"] == "none"
    assert seen["recipe"] == recipe_of(job.recipe)
    fingerprint = digest(recipe_of(job.recipe))[:10]
    assert baseline is not None
    assert baseline.folder == tmp_path / f"resnet_mini-none-seed3-{fingerprint}"
    assert choice("augmentation/mix") == "cutmix", "the job is the arm's again"
    assert command_line()["overrides"][:4] == ARM


def test_it_has_the_base_transform_of_the_arm(hydra_job: HydraJob, tmp_path: Path) -> None:
    seen = {}

    def run(job: TrainJob) -> TrainingSummary:
        seen.update(job.recipe["augmentation"])
        return training_summary()

    job = arm(hydra_job, tmp_path, "augmentation=sip_moex", "augmentation/base=pad_crop")
    assert baseline_of(job, run) is not None
    assert seen == recipe_of(job.recipe)["augmentation"]
    assert seen["base"]["padding"] == 4 and seen["mix"]["class"].endswith("NoMix")


def test_it_does_without_the_keys_of_the_arms_own_stages(
    hydra_job: HydraJob, tmp_path: Path
) -> None:
    own = ["augmentation=retrieved", "images.choose=nearest", "filter=similarity"]
    job = arm(hydra_job, tmp_path, *own, "filter.keep=0.5", "classifier.label_smoothing=0.2")
    recipes = []

    def run(job: TrainJob) -> TrainingSummary:
        recipes.append(job.recipe)
        return training_summary()

    assert baseline_of(job, run) is not None
    assert recipes == [recipe_of(job.recipe)]
    assert recipes[0]["classifier"]["label_smoothing"] == 0.2


def test_it_is_found_under_any_name(hydra_job: HydraJob, tmp_path: Path) -> None:
    job = arm(hydra_job, tmp_path, "hydra.mode=MULTIRUN")
    recipe = recipe_of(job.recipe)
    fingerprint = digest(recipe)[:10]
    summary = training_summary(fingerprint=fingerprint, recipe=recipe)
    folder = write_run(tmp_path / f"other-name-{fingerprint}", summary)
    baseline = baseline_of(job, never)
    assert baseline is not None and baseline.folder == folder
    assert baseline.summary.experiments == ("main", "quick")


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["hydra.mode=MULTIRUN"], "none: a sweep does not train it; run it with augmentation=none"),
        (["trainer.devices=2"], "none: a job of 2 processes does not train it"),
        (["augmentation=none", "augmentation/mix=none"], ""),
    ],
)
def test_it_is_not_trained(
    hydra_job: HydraJob,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    overrides: list[str],
    reason: str,
) -> None:
    assert baseline_of(arm(hydra_job, tmp_path, *overrides), never) is None
    said = capsys.readouterr().err
    assert said.startswith(f"baseline     {reason}") if reason else said == ""


def test_it_has_the_settings_of_the_arms_base_transform(
    hydra_job: HydraJob, tmp_path: Path
) -> None:
    seen = {}

    def run(job: TrainJob) -> TrainingSummary:
        seen.update(job.recipe)
        return training_summary()

    own = ["augmentation/base=pad_crop", "augmentation.base.padding=2"]
    job = arm(hydra_job, tmp_path, *own)
    assert baseline_of(job, run) is not None
    assert seen == recipe_of(job.recipe) and seen["augmentation"]["base"]["padding"] == 2
