"""Filters in the main job and in the generation job, on the miniature models, end to end."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image
from transformers import CLIPModel, CLIPProcessor

from sip.backbone.saved import CONFIG, FOLDER, WEIGHTS, SavedClassifier
from sip.classifier.predictor import Predictor
from sip.config.build import build
from sip.core.errors import UserError
from sip.core.hashing import digest
from sip.core.stages import StageLog
from sip.export.source import Source
from sip.jobs.control import control_of, recipe_of
from sip.jobs.generate import Generation
from sip.jobs.train import train
from sip.jobs.train_job import TrainJob
from sip.pipeline.offline import Offline
from tests.composing import composed
from tests.pipeline.made_up import TRAINING

ROOT = Path(__file__).parents[2]
SCORER = ROOT / "sip" / "miniature" / "scorer"
SHORT = (
    *TRAINING,
    "prompts=real_guidance",  # reads neither captions nor scores
    "prompts.noise_rate=0.9",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("filter")


def config(folder: Path, *overrides: str) -> DictConfig:
    return composed("augmentation=sip", *SHORT, *overrides, folder=folder)


def done(job: DictConfig) -> tuple[dict, Path]:
    run = TrainJob(job)
    summary = run.finished()
    assert summary is not None
    return summary.to_dict(), run.folder


@pytest.fixture(scope="module")
def similar(folder: Path) -> tuple[dict, Path]:
    job = config(folder, "filter=similarity", "filter.keep=0.5")
    train(job)
    return done(job)


def test_the_summary_counts_and_the_list_names_what_was_rejected(
    similar: tuple[dict, Path],
) -> None:
    summary, folder = similar
    reasons = {"not in its class's best": 10}
    assert summary["filter"] == {"kept": 10, "rejected": 10, "reasons": reasons}
    assert (summary["num_real"], summary["num_generated"]) == (10, 10)
    made = {row["stage"]: (row["cached"], row["computed"]) for row in summary["stages"]}
    assert made["embeddings"] == (0, 30) and made["images"] == (0, 20)
    rows = pd.read_parquet(folder / "images.parquet").query("kind == 'generated'")
    assert Counter(rows.status) == {"ok": 10, "rejected": 10}
    assert set(rows[rows.status == "rejected"].reason) == set(reasons)
    assert rows.groupby("label").status.apply(lambda s: set(s) == {"ok", "rejected"}).all()
    assert summary["unet_evaluations"] == rows.unet_evaluations.sum()  # the rejected cost, too
    with Image.open(folder / "rejected.png") as sheet:
        assert sheet.width > 1000


def test_what_is_kept_is_closest_to_its_label_by_the_stock_model(
    folder: Path, similar: tuple[dict, Path]
) -> None:
    model = CLIPModel.from_pretrained(SCORER, dtype=torch.float32).eval()
    processor = CLIPProcessor.from_pretrained(SCORER, backend="pil")
    rows = pd.read_parquet(similar[1] / "images.parquet").query("kind == 'generated'")
    for _, two in rows.groupby("label"):
        images = [Image.open(folder / "store" / file).convert("RGB") for file in two.file]
        text = f"a photo of a {two.class_name.iloc[0]}"
        with torch.no_grad():
            logits = model(**processor(images=images, text=text, return_tensors="pt"))
        cosines = (logits.logits_per_text[0] / model.logit_scale.exp()).tolist()
        assert two.status.tolist()[int(np.argmax(cosines))] == "ok"
        rejected = two.error[two.status == "rejected"].iloc[0]
        assert float(rejected.split()[0]) == pytest.approx(min(cosines), abs=6e-4)


def test_a_found_run_prints_the_counts_again(
    folder: Path, similar: tuple[dict, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    train(config(folder, "filter=similarity", "filter.keep=0.5"))
    told = capfd.readouterr()
    assert re.search(r"filter +10 of 20 generated images kept; rejected: 10 not in its", told.out)
    assert f"rejected           {similar[1] / 'rejected.png'}" in told.out
    assert "training images    10 real + 10 generated" in told.out
    assert "computed" not in told.err


def test_no_filter_changes_no_fingerprint_and_a_filter_does(folder: Path) -> None:
    plain = TrainJob(config(folder, "filter=none"))
    assert plain.offline is not None and "filter" not in plain.recipe["offline"]
    others = [
        TrainJob(config(folder, f"filter={name}")).fingerprint for name in ("guided", "agreement")
    ]
    assert len({plain.fingerprint, *others}) == 3
    arms = [config(folder, "augmentation=none", f"filter={name}") for name in ("none", "guided")]
    assert (
        len({TrainJob(arm).fingerprint for arm in arms}) == 1
    )  # nothing is generated, nothing filtered


def test_the_control_is_trained_once_and_equals_the_plain_run(
    folder: Path, similar: tuple[dict, Path]
) -> None:
    job = config(folder, "filter=agreement", "filter.confidence=0.05")
    train(job)
    summary, run_folder = done(job)
    made = {row["stage"]: (row["cached"], row["computed"]) for row in summary["stages"]}
    assert (made["control"], made["images"]) == ((0, 1), (20, 0))
    counts = summary["filter"]
    assert counts["reasons"] == {"contradicted": counts["rejected"]} and counts["kept"] > 0

    plain = config(folder, "augmentation=none")
    train(plain)
    run = TrainJob(plain)
    control = folder / "store" / "controls" / run.fingerprint
    assert digest(recipe_of(TrainJob(job).recipe))[:10] == run.fingerprint
    _, plain_folder = done(plain)
    folders = [place / FOLDER for place in (control, plain_folder)]
    for file in (CONFIG, WEIGHTS):
        assert (folders[0] / file).read_bytes() == (folders[1] / file).read_bytes()

    # where the plain run is there, its classifier is taken; its stored predictions come out
    def never(to: Path) -> None:
        raise AssertionError("trained again")

    paths = (folder / "runs", folder / "store")
    found = control_of(TrainJob(job).recipe, *paths, never, StageLog())
    assert found == folders[1]
    judge = Predictor(SavedClassifier(found), "cpu")
    stored = pd.read_parquet(plain_folder / "predictions.parquet").query("split == 'val'")
    samples = {sample.sample_id: sample.path for sample in run.dataset.samples("val")}
    seen = judge([samples[sample_id] for sample_id in stored.sample_id])
    logits = torch.tensor(np.stack(stored.logits.tolist()))
    assert seen == pytest.approx(logits.softmax(1).numpy(), abs=1e-5)

    generated = pd.read_parquet(run_folder / "images.parquet").query("kind == 'generated'")
    seen = judge([str(folder / "store" / file) for file in generated.file])
    wrong = (seen.argmax(1) != generated.label) & (seen.max(1) > 0.05)
    assert (generated.status == "rejected").tolist() == wrong.tolist()


def test_a_filter_that_leaves_nothing_says_why(
    folder: Path, similar: tuple[dict, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    said = (
        r"^filter: must keep some of 20 generated images, got none \(20 below the threshold; the "
    )
    with pytest.raises(UserError, match=said + r"first: 0\.\d+ to its label, below 0.99\); loosen"):
        train(config(folder, "filter=similarity", "filter.keep=null", "filter.threshold=0.99"))
    assert "below the threshold" not in capfd.readouterr().err  # once is enough


def test_classes_without_a_image_are_named(
    folder: Path, similar: tuple[dict, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    rows = pd.read_parquet(similar[1] / "images.parquet").query("status == 'rejected'")
    values = sorted(float(text.split()[0]) for text in rows.error)
    threshold = f"filter.threshold={values[len(values) // 2]}"
    train(config(folder, "filter=similarity", "filter.keep=null", threshold))
    told = capfd.readouterr().err
    assert re.search(r"no generated image is left of \d of 10 classes: ", told)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["filter=similarity", "filter.threshold=0.2"], "filter.keep: must be set if and only if"),
        (["filter=review", "filter.file=/no/review.csv"], "filter.file: must be a review.csv or"),
        (["filter=guided", "filter.num=3"], "filter.num: must be at most images.per_sample=2"),
        (["filter=similarity", "scores.model=/nowhere"], "/nowhere"),
    ],
)
def test_bad_values_and_missing_weights_are_found_before_any_work(
    tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train(config(tmp_path, *overrides))
    assert not (tmp_path / "store").exists() and not (tmp_path / "runs").exists()


@pytest.fixture(scope="module")
def guided(folder: Path) -> tuple[dict, Path]:
    job = config(folder, "augmentation=gif_like", "filter.diversity=0")
    generation = Generation(job)
    generation.run()
    return json.loads((generation.folder / "summary.json").read_text()), generation.folder


def test_the_generation_job_filters_and_the_export_takes_what_is_kept(
    folder: Path, guided: tuple[dict, Path], similar: tuple[dict, Path]
) -> None:
    summary, run = guided
    rows = pd.read_parquet(run / "images.parquet").query("kind == 'generated'")
    kept = rows[rows.status == "ok"]
    assert (len(rows), len(kept)) == (20, summary["num_generated"])
    assert summary["filter"]["kept"] == len(kept) and summary["failures"] == {}
    assert kept.sample_id.is_unique and (run / "rejected.png").is_file()
    source = Source(run, None, ["train"], "none")
    assert [image.stem for image in source.images("train")] == kept.id.tolist()
    assert source.rejected == Counter(summary["filter"]["reasons"]) and not source.failed


def test_the_generation_job_leaves_to_training_what_needs_a_classifier(
    folder: Path, similar: tuple[dict, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    generation = Generation(config(folder, "filter=agreement"))
    assert "filter       needs a classifier: sip.train applies it" in capfd.readouterr().err
    assert generation.fingerprint == Generation(config(folder, "filter=none")).fingerprint


def test_a_review_of_one_run_is_used_in_training_and_another_decision_is_another_arm(
    folder: Path, similar: tuple[dict, Path], tmp_path: Path
) -> None:
    rows = pd.read_parquet(similar[1] / "images.parquet").query("kind == 'generated'")
    ids = rows.id.tolist()
    file = tmp_path / "review.csv"

    def job(*rejected: str) -> DictConfig:
        lines = [f"{name},{'reject' if name in rejected else 'accept'}" for name in ids]
        file.write_text("\n".join(["image_id,decision", *lines]))
        return config(folder, "filter=review", f"filter.file={file}")

    other = TrainJob(job(*ids[:2])).fingerprint
    train(job(*ids[:3]))
    summary, run = done(job(*ids[:3]))
    assert summary["fingerprint"] != other
    assert summary["filter"]["reasons"] == {"rejected in review": 3}
    assert summary["num_generated"] == 17
    used = pd.read_parquet(run / "images.parquet").query("kind == 'generated'")
    assert used[used.status == "rejected"].id.tolist() == ids[:3]
    with pytest.raises(UserError, match="must keep some of 20 generated images, got none"):
        train(job(*ids))


def test_vectors_are_the_same_in_batches_found_by_trial_and_bad_images_are_named(
    folder: Path, tmp_path: Path, similar: tuple[dict, Path]
) -> None:
    first = Offline(config(folder, "filter=similarity"))
    auto = ("runtime.batch_size.scores=auto", f"paths.store={tmp_path}")
    other = Offline(config(folder, "filter=similarity", *auto))
    samples = build(config(folder).dataset).samples("train")
    images = {sample.sha256: sample.path for sample in samples}
    stages = StageLog()
    for offline in (first, other):
        offline.embed(images, stages)
    assert [(row["cached"], row["computed"]) for row in stages.rows] == [(10, 0), (0, 10)]
    vectors = first.embeddings(list(images))
    assert vectors.dtype == np.float32 and vectors.shape[0] == 10
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-6)
    assert other.embeddings(list(images)) == pytest.approx(vectors, abs=1e-5)
    with pytest.raises(UserError, match="embeddings: 1 of 11 images could not be read, first /x"):
        other.embed(images | {"nothing": "/x"}, stages)
