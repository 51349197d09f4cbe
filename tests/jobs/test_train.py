"""The main job itself, shortened: every stage, on the miniature models, end to end."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image

from sip.core.errors import UserError
from sip.core.hashing import digest
from sip.core.stages import StageLog
from sip.jobs.control import recipe_of
from sip.jobs.generate import generate
from sip.jobs.train import train
from sip.jobs.train_job import TrainJob
from sip.jobs.training import _control, fit, require
from sip.records.read import read_run
from sip.records.summary import TrainingSummary
from sip.weights.checksums import sha256_of
from sip.weights.source import resolve
from tests.commands import run_module
from tests.composing import composed

CONF = Path(__file__).resolve().parents[2] / "conf"
SHORT = [
    "backbone=resnet_mini",
    "dataset.shots=1",
    "images.num_steps=4",
    "classifier.steps=4",
    "classifier.val_every=2",
    "classifier.warmup_steps=1",
    "runtime.num_threads=1",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("job")


def config(folder: Path, *overrides: str) -> DictConfig:
    return composed(*SHORT, *overrides, folder=folder)


def sip(folder: Path, *overrides: str) -> DictConfig:
    return config(folder, "logger=csv", "+exp=resnet50_sip", *overrides)


@pytest.fixture(scope="module")
def first(folder: Path) -> tuple[TrainingSummary, Path]:
    job = config(folder, "+exp=resnet50_sip")  # with W&B, offline
    accuracy = train(job)
    run = TrainJob(job)
    summary = run.finished()
    assert summary is not None
    assert accuracy == summary.val_accuracy
    return summary, run.folder


def test_machine_and_leaks_of_the_generator_are_recorded(
    first: tuple[TrainingSummary, Path],
) -> None:
    summary, _ = first
    assert summary.machine is not None and summary.machine.threads == 1
    assert summary.leaks["test"].keys() == {"exact", "near", "exact_pretrain", "near_pretrain"}
    assert summary.leaks["test"]["exact_pretrain"] == 0


def test_the_weights_that_were_loaded_are_recorded(first: tuple[TrainingSummary, Path]) -> None:
    weights = first[0].weights
    assert weights.keys() == {"captions", "scores", "images"}  # the ResNet is from scratch
    file = Path(resolve(weights["scores"].source)) / "model.safetensors"
    assert weights["scores"].sha256 == {file.name: sha256_of(file)}
    assert weights["images"].sha256.keys() >= {"unet/diffusion_pytorch_model.safetensors"}
    assert weights["images"].commit is weights["images"].revision is None


def test_every_stage_did_its_work(first: tuple[TrainingSummary, Path]) -> None:
    made = {row.stage: row.computed for row in first[0].stages}
    assert made == {
        "dataset": 0, "captions": 10, "scores": 10, "prompts": 10, "images": 10, "metrics": 11,
        "classifier": 1,
    }  # fmt: skip
    assert first[0].num_real == first[0].num_generated == 10


def test_real_images_are_listed_as_retrieved(folder: Path) -> None:
    short = [each for each in SHORT if not each.startswith("images.")]
    arm = ("augmentation=retrieved", "logger=csv", "train.leaks=false")
    job = composed(*short, *arm, folder=folder)
    train(job)
    summary = TrainJob(job).finished()
    assert summary is not None and summary.num_generated == 10
    assert summary.unread == ("guidance_scale", "negative_prompt", "noise_rate")
    rows = pd.read_parquet(TrainJob(job).folder / "images.parquet").query("kind != 'real'")
    assert set(rows.kind) == {"retrieved"} and rows.noise_rate.isna().all()


def test_unet_evaluations_are_counted(first: tuple[TrainingSummary, Path]) -> None:
    # 4 steps at noise rate 0.5 are 2, each twice where the guidance scale is above 1
    used = pd.read_parquet(first[1] / "images.parquet").query("kind == 'generated'")
    expected = sum(2 * (2 if scale > 1 else 1) for scale in used.guidance_scale)
    assert first[0].unet_evaluations == expected == used.unet_evaluations.sum()


def test_guidance_follows_the_papers_rule_from_each_similarity(
    first: tuple[TrainingSummary, Path],
) -> None:
    used = pd.read_parquet(first[1] / "images.parquet").query("kind == 'generated'")
    for row in used.itertuples():
        best = max(json.loads(row.candidates), key=lambda pair: pair[1])
        assert [row.caption, row.similarity] == best
        scaled = min(1.0, 2.5 * max(row.similarity, 0.0))
        assert row.guidance_scale == pytest.approx(4 * scaled**2 + 2 * scaled + 1, abs=1e-3)
        assert [row.class_name, 1.5] in json.loads(row.spans)
        assert [row.caption, 0.9] in json.loads(row.spans)


def test_run_folder_holds_what_it_says(first: tuple[TrainingSummary, Path]) -> None:
    names = {file.name for file in first[1].iterdir()}
    assert {
        "summary.json", "config.yaml", "metrics.csv", "images.parquet", "predictions.parquet",
        "classifier", "contact_sheet.png", "quality.parquet",
    } <= names  # fmt: skip
    with Image.open(first[1] / "contact_sheet.png") as sheet:
        assert sheet.width > 1000
    predictions = pd.read_parquet(first[1] / "predictions.parquet").query("split == 'test'")
    hits = [row.logits.argmax() == row.label for row in predictions.itertuples()]
    assert sum(hits) / len(hits) == pytest.approx(first[0].test_accuracy, abs=1e-6)


def test_what_was_generated_is_measured(first: tuple[TrainingSummary, Path]) -> None:
    summary, folder = first
    rows = pd.read_parquet(folder / "quality.parquet")
    generated = pd.read_parquet(folder / "images.parquet").query("kind == 'generated'")
    assert sorted(rows.id) == sorted(generated.id)
    names = {row.metric: row for row in summary.quality}
    assert names["generated/coverage"].split == "val"
    assert set(names) == {name for name in summary.metrics if name.startswith("generated/")}
    assert len(names) == 11
    mean = rows.label_similarity.mean()
    assert summary.metrics["generated/consistency_label"] == pytest.approx(mean)


def test_real_images_are_found_next_to_the_store(
    folder: Path, first: tuple[TrainingSummary, Path]
) -> None:
    real = pd.read_parquet(first[1] / "images.parquet").query("kind == 'real'")
    assert all((folder / "store" / file).is_file() for file in real.file)
    assert not any(Path(file).is_absolute() for file in real.file)


def test_wandb_holds_the_accuracy_offline(first: tuple[TrainingSummary, Path]) -> None:
    (run,) = (first[1] / "wandb").glob("offline-run-*")
    stored = b"".join(file.read_bytes() for file in run.rglob("*") if file.is_file())
    assert b"test_accuracy" in stored
    assert first[0].fingerprint in run.name


def arguments(folder: Path) -> list[str]:
    paths = [f"paths.{name}={folder / name}" for name in ("store", "runs", "data")]
    return [*SHORT, "+exp=resnet50_sip", "logger=csv", *paths]


@pytest.fixture(scope="module")
def baseline(folder: Path, first: tuple[TrainingSummary, Path]) -> str:
    """What the main job prints when its own run is there and its baseline is not."""
    done = run_module("sip.train", arguments(folder), folder / "said")
    assert done.returncode == 0, done.stderr
    assert "baseline     augmentation=none with the same seed, trained once" in done.stderr
    return done.stdout


def test_the_baseline_is_an_ordinary_run(
    folder: Path, first: tuple[TrainingSummary, Path], baseline: str
) -> None:
    fingerprint = digest(recipe_of(first[0].recipe))[:10]
    run = read_run(folder / "runs" / f"resnet_mini-none-seed0-{fingerprint}")
    assert isinstance(run.summary, TrainingSummary)
    assert TrainJob(config(folder, "augmentation=none")).fingerprint == fingerprint
    assert run.summary.experiments == ("resnet50_sip",)
    assert run.summary.choices["augmentation"] == "none"
    assert run.summary.command is not None and run.summary.command.endswith(
        "augmentation=none train.baseline=false"
    )
    gain = 100 * (first[0].test_accuracy - run.summary.test_accuracy)
    lines = {line[:16].strip(): line[16:].strip() for line in baseline.splitlines()}
    expected = f"{run.summary.test_accuracy:.3f} with augmentation=none and the same seed: "
    assert lines["baseline top-1"] == f"{expected}{gain:+.1f} points"
    assert lines["baseline run"] == str(run.folder)
    assert lines["compare"].startswith("python -m sip.tables experiment=resnet50_sip runs=")


def test_a_finished_run_is_found_without_heavy_imports(
    folder: Path, first: tuple[TrainingSummary, Path], baseline: str
) -> None:
    overrides = [*arguments(folder), f"hydra.run.dir={folder / 'hydra'}"]
    heavy = ["torch", "timm", "pytorch_lightning", "diffusers", "transformers", "pandas", "scipy"]
    look = f"atexit.register(lambda: print([m for m in {heavy} if m in sys.modules]))"
    code = f"import atexit, sys, sip.train; {look}; sip.train.main()"
    command = [sys.executable, "-c", code, *overrides]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=CONF.parent)
    assert first[0].fingerprint in ended.stdout
    assert ended.stdout.splitlines()[-1] == "[]"
    assert ended.stdout.splitlines()[:-1] == baseline.splitlines()


def test_second_start_makes_nothing(
    folder: Path, first: tuple[TrainingSummary, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    train(sip(folder))
    printed = capfd.readouterr()
    lines = [line for line in printed.err.splitlines() if "cached" in line]
    assert len(lines) == 7
    assert "computed" not in printed.err
    assert f"{first[0].test_accuracy:.3f}" in printed.out


def test_a_cached_run_of_other_threads_is_said(
    folder: Path, first: tuple[TrainingSummary, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    train(sip(folder))
    assert "threads" not in capfd.readouterr().err
    train(sip(folder, "runtime.num_threads=2"))
    line = "runtime      the cached run had 1 thread, not 2; train.reuse=false trains it again"
    assert line in capfd.readouterr().err


def test_a_cached_run_is_logged_where_it_was_not_logged_before(
    folder: Path, first: tuple[TrainingSummary, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(sip(folder, "logger=tensorboard"))
    assert "a cached run that is not logged there yet" in capfd.readouterr().err
    events = EventAccumulator(str(first[1] / "tensorboard"))
    events.Reload()
    final = events.Scalars("final/test_accuracy")[-1]
    assert final.value == pytest.approx(first[0].test_accuracy)
    curves = pd.read_csv(first[1] / "metrics.csv").set_index("step")
    for name in curves.columns:
        seen = {event.step: event.value for event in events.Scalars(name)}
        assert seen == pytest.approx(curves[name].dropna().to_dict()), name
    (sheet,) = events.Images("contact_sheet")
    assert sheet.width > 0

    for again in ("tensorboard", "wandb", "csv"):  # it was trained with W&B
        train(sip(folder, f"logger={again}"))
        assert "not logged there yet" not in capfd.readouterr().err
    train(sip(folder, "logger=wandb", "logger.project=other"))
    assert "not logged there yet" in capfd.readouterr().err


def test_a_run_that_its_tracker_failed_on_is_logged_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    job = config(tmp_path, "logger=tensorboard", "augmentation=none")
    with monkeypatch.context() as patched:
        patched.setattr("sip.tracking.tensorboard.SafeTensorBoard.finish", lambda *_: 1 / 0)
        train(job)
    assert "going on without it" in capfd.readouterr().err
    for is_logged in (False, True):
        train(job)
        assert ("not logged there yet" not in capfd.readouterr().err) == is_logged


def test_training_again_generates_nothing(
    folder: Path, first: tuple[TrainingSummary, Path]
) -> None:
    before = TrainJob(sip(folder)).finished()
    assert before is not None
    job = sip(folder, "train.reuse=false", "experiment=again")
    train(job)
    run = TrainJob(job)
    summary = run.finished()
    assert summary is not None
    assert summary.experiments == (*before.experiments, "again")
    made = {row.stage: row.computed for row in summary.stages}
    assert made["captions"] == made["scores"] == made["images"] == 0
    assert summary.test_accuracy == first[0].test_accuracy  # the same weights again


def test_another_noise_rate_captions_and_scores_nothing(folder: Path, first: object) -> None:
    job = sip(folder, "prompts.noise_rate=0.75", "metrics=[]")
    train(job)
    summary = TrainJob(job).finished()
    assert summary is not None
    made = {row.stage: row.computed for row in summary.stages}
    assert (made["captions"], made["scores"], made["images"]) == (0, 0, 10)


def test_two_variants_generate_only_the_second(folder: Path, first: object) -> None:
    job = sip(folder, "images.per_sample=2", "metrics=[]")
    train(job)
    summary = TrainJob(job).finished()
    assert summary is not None
    images = next(row for row in summary.stages if row.stage == "images")
    assert (images.cached, images.computed) == (10, 10)
    assert summary.num_generated == 20


def test_what_a_ratio_leaves_out_is_not_counted(folder: Path, first: object) -> None:
    job = sip(folder, "mixing.ratio=0.5")
    train(job)
    summary = TrainJob(job).finished()
    assert summary is not None and (summary.num_real, summary.num_generated) == (10, 5)
    assert summary.epochs == round(4 * job.classifier.batch_size / summary.num_train, 2)


def test_plain_baseline_generates_nothing_and_ignores_prompt_settings(folder: Path) -> None:
    plain = TrainJob(config(folder, "augmentation=none", "logger=csv"))
    other = TrainJob(config(folder, "augmentation=none", "logger=csv", "prompts.noise_rate=0.9"))
    assert plain.offline is None
    assert plain.fingerprint == other.fingerprint


def test_settings_without_effect_are_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["augmentation=none", "prompts.noise_rate=0.9", "captions=blip_beam", "seed=1"]
    monkeypatch.setattr(
        "sip.jobs.train_job.command_line", lambda: {"overrides": given, "choices": {}}
    )
    TrainJob(config(folder, "augmentation=none", "logger=csv")).say_ignored_settings()
    said = capsys.readouterr().err
    line = (
        "without effect: prompts.noise_rate=0.9, captions=blip_beam; add augmentation=sip for SIP\n"
    )
    assert said.startswith("augmentation") and said.endswith(line)
    wrong = TrainJob(config(folder, "augmentation=none", "logger=csv", "prompts.noise_rate=1.5"))
    with pytest.raises(UserError, match="prompts.noise_rate: must be in"):
        wrong.say_ignored_settings()
    capsys.readouterr()
    TrainJob(sip(folder)).say_ignored_settings()
    assert capsys.readouterr().err == ""


def test_a_found_run_joins_another_experiment(
    folder: Path, first: tuple[TrainingSummary, Path]
) -> None:
    before = json.loads((first[1] / "summary.json").read_text())["experiments"]
    train(sip(folder, "experiment=other"))
    summary = json.loads((first[1] / "summary.json").read_text())
    assert before[0] == "resnet50_sip" and "other" not in before
    assert summary["experiments"] == [*before, "other"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=abc", "seed: must be a whole number >= 0, got 'abc'"),
        ("images.num_steps=0", "images.num_steps: must be a whole number >= 1, got 0"),
        ("images.per_sample=0", "images.per_sample: must be a whole number >= 1, got 0"),
        ("prompts.noise_rate=0.1", "prompts.noise_rate: must be in [0.25, 1]"),
        ("prompts.noise_rate=2", "prompts.noise_rate: must be in"),
    ],
)
def test_bad_values_are_refused_before_any_work(
    tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        train(sip(tmp_path, override))
    assert not (tmp_path / "store" / "captions").exists()
    assert not (tmp_path / "runs").exists()


def test_a_transform_that_cannot_be_built_is_refused_before_any_work(tmp_path: Path) -> None:
    own = ["augmentation=combo", "augmentation/sample=torchvision", "logger=csv"]
    job = config(tmp_path, *own, "augmentation.sample.transform=RandAugmented")
    with pytest.raises(UserError, match="^augmentation.sample.transform: must be the name of"):
        train(job)
    assert not (tmp_path / "runs").exists()


def test_a_precision_that_a_cpu_does_not_have_is_refused(tmp_path: Path) -> None:
    own = ["augmentation=none", "logger=csv", "runtime.device=cpu"]
    with pytest.raises(UserError, match="^classifier.precision: must be 32-true or bf16-mixed on"):
        require(TrainJob(config(tmp_path, *own, "classifier.precision=16-mixed")))
    require(TrainJob(config(tmp_path, *own, "classifier.precision=bf16-mixed")))


@pytest.mark.parametrize(
    ("devices", "rule"), [(3, "a multiple of the 3 devices"), (4, "at least 2 images a device")]
)
def test_a_batch_that_devices_cannot_share_is_refused_before_any_work(
    tmp_path: Path, devices: int, rule: str
) -> None:
    job = sip(tmp_path, f"trainer.devices={devices}", "classifier.batch_size=4")
    with pytest.raises(UserError, match=f"^classifier.batch_size: must be {rule}"):
        require(TrainJob(job))


def test_a_training_is_kept_until_its_results_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sip.classifier.resume.EVERY", 0.0)
    monkeypatch.setattr("sip.classifier.resume.SHARE", 1e9)
    job = config(tmp_path, "augmentation=none", "logger=csv")
    with monkeypatch.context() as patch, pytest.raises(UserError, match="the disk is full"):
        patch.setattr("sip.jobs.training.evaluate", full_disk)
        train(job)
    train(job)
    assert "going on from step 3" in capsys.readouterr().err
    run = TrainJob(job)
    summary = run.finished()
    assert summary is not None and summary.steps == 4
    assert not list(run.folder.glob(".*"))
    assert list(pd.read_csv(run.folder / "metrics.csv").step) == [1, 3, 4]


def test_a_control_keeps_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(job, augmentation, generated, splits, folder, loggers) -> None:
        folder.mkdir(parents=True)
        (folder / ".unfinished.ckpt").touch()

    monkeypatch.setattr("sip.jobs.training.fit", fit)
    monkeypatch.setattr("sip.backbone.saved.SavedClassifier", Path)
    monkeypatch.setattr("sip.classifier.predictor.Predictor", lambda *given: given)
    job = TrainJob(sip(tmp_path))
    assert job.offline
    job.offline.models.runtime = replace(job.offline.runtime, device="cuda:3")
    folder, device = _control(job, {}, StageLog())  # type: ignore[misc]
    assert list(Path(folder).parent.iterdir()) == [] and device == "cuda:3"


def full_disk(folder: Path) -> None:
    raise UserError("the disk is full")


def own_images(root: Path) -> None:
    for label, name in enumerate(("red circle", "green_square")):
        (root / name).mkdir(parents=True)
        for number in range(8):
            colour = (40 * label + number, 90, 30 * number)
            Image.new("RGB", (40, 30), colour).save(root / name / f"{number}.png")


def test_own_images_in_one_line(tmp_path: Path) -> None:
    own_images(tmp_path / "own")
    own = ["dataset=image_folder", f"dataset.root={tmp_path / 'own'}", "dataset.shots=2"]
    job = sip(tmp_path, *own)
    train(job)
    run = TrainJob(job)
    summary = run.finished()
    assert summary is not None
    assert (summary.num_real, summary.num_generated) == (4, 4)
    used = pd.read_parquet(run.folder / "images.parquet")
    assert set(used.class_name) == {"red circle", "green square"}
    (tmp_path / "own" / "red circle" / "0.png").unlink()
    assert TrainJob(sip(tmp_path, *own)).fingerprint != summary.fingerprint


def test_an_unreadable_image_of_ones_own_is_named_before_any_work(tmp_path: Path) -> None:
    own_images(tmp_path / "own")
    (tmp_path / "own" / "red circle" / "bad.png").write_bytes(b"no image")
    with pytest.raises(
        UserError,
        match="1 of .* not: red circle/bad.png .cannot identify image file.; fix",
    ):
        train(
            sip(
                tmp_path,
                "dataset=image_folder",
                f"dataset.root={tmp_path / 'own'}",
                "dataset.shots=null",
            )
        )
    assert not (tmp_path / "store" / "captions").exists()


def test_fingerprint_knows_what_matters(folder: Path) -> None:
    base = TrainJob(sip(folder)).fingerprint
    assert TrainJob(sip(folder, "prompts.noise_rate=0.9")).fingerprint != base
    assert TrainJob(sip(folder, "seed=1")).fingerprint != base
    assert TrainJob(sip(folder, "runtime.batch_size.images=2")).fingerprint == base
    assert TrainJob(sip(folder, "experiment=other")).fingerprint == base


@pytest.mark.parametrize("value", ["7", "true", "[a,b]"])
def test_an_experiment_that_is_no_name_is_refused_before_any_work(
    tmp_path: Path, value: str
) -> None:
    with pytest.raises(UserError, match="^experiment: must be a name or null, got "):
        train(config(tmp_path, "augmentation=none", f"experiment={value}"))
    assert not (tmp_path / "runs").exists()


def test_settings_are_checked_before_the_store_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sip.jobs.train.repair", lambda *_: 1 / 0)
    with pytest.raises(UserError, match=r"^classifier.lr: must be a number > 0, got -1"):
        train(sip(tmp_path, "retry=damaged", "classifier.lr=-1.0"))
    monkeypatch.setattr("sip.jobs.generate.repair", lambda *_: 1 / 0)
    with pytest.raises(UserError, match="^images.num_steps: must be a whole number >= 1, got 0"):
        generate(config(tmp_path, "retry=damaged", "images.num_steps=0"))


@pytest.mark.parametrize("tf32", [True, False])
def test_the_precision_of_a_training_does_not_depend_on_what_ran_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tf32: bool
) -> None:
    def note(**_: object) -> None:
        seen.append((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))

    seen: list[tuple[str, bool]] = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)  # there need not be one
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("sip.classifier.train.train", note)
    own = ["augmentation=none", "runtime.device=cuda", f"runtime.tf32={tf32}"]
    job = TrainJob(config(tmp_path, *own))
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("medium")
    try:
        fit(job, job.augmentation, [], {"train": [], "val": [], "test": []}, tmp_path, [])
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
    assert seen == [("high" if tf32 else "highest", tf32)]
