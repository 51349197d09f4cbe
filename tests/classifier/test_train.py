"""Training: one budget, the checkpoint that val chose, one look at test, the same bits again."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from pytorch_lightning.loggers import CSVLogger
from safetensors.torch import load_file

from sip.augmentation.base import Augmentation
from sip.augmentation.mix.cutmix import CutMix
from sip.augmentation.mix.none import NoMix
from sip.augmentation.offline.generated import GeneratedMode
from sip.augmentation.offline.none import NoGenerated
from sip.augmentation.sample.none import AsIs
from sip.backbone.saved import FOLDER, WEIGHTS
from sip.classifier.base import Result, TrainingImage
from sip.classifier.loading import Loading
from sip.classifier.module import Classifier
from sip.config.build import build
from sip.core.errors import UserError
from sip.weights import sealed
from tests.classifier.made_up import BACKBONE, NAMES, RECIPE, run
from tests.classifier.recipes import PLAIN, RANDAUGMENT, recipe
from tests.composing import composed


@pytest.fixture(scope="module")
def done(splits, tmp_path_factory) -> tuple[Result, Path]:
    folder = tmp_path_factory.mktemp("run")
    logger = CSVLogger(str(folder), name="", version="")
    return run(splits, folder, [logger]), folder


def test_it_learns(done) -> None:
    assert done[0].test_accuracy > 0.6


def test_logged_curves_are_complete(done) -> None:
    result, folder = done
    rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    filled = {name: [row[name] for row in rows if row[name]] for name in rows[0]}
    assert len(filled["val/accuracy"]) == len(filled["val/loss"]) == 4
    assert len(filled["test/accuracy"]) == 1  # one look
    assert float(filled["test/accuracy"][0]) == pytest.approx(result.test_accuracy)
    assert filled["train/loss"]
    assert filled["lr"]
    passes = [float(row["epoch"]) for row in rows]  # of 9 images, 8 a step; the stream is one epoch
    steps = [int(row["step"]) + (not row["test/accuracy"]) for row in rows]
    assert passes == pytest.approx([step * 8 / 9 for step in steps])
    assert [row["step"] for row in result.history] == [3, 6, 9, 12]
    assert set(result.history[0]) == {"step", "train/loss", "val/loss", "val/accuracy", "lr"}


def test_the_earliest_of_the_best_checkpoints_is_chosen(done) -> None:
    result = done[0]
    best = max(row["val/accuracy"] for row in result.history)
    steps = [row["step"] for row in result.history if row["val/accuracy"] == best]
    assert (result.best_step, result.val_accuracy) == (steps[0], best)
    assert result.best_epoch == pytest.approx(result.best_step * 8 / 9)


def test_predictions_are_those_of_the_stored_classifier(done, splits) -> None:
    result, folder = done
    table = pd.read_parquet(folder / "predictions.parquet")
    assert list(table.columns) == ["sample_id", "split", "label", "logits"]
    network = timm.create_model(f"local-dir:{result.classifier}", pretrained=True)
    assert network.pretrained_cfg["label_names"] == list(NAMES)
    module = Classifier(network, RECIPE, NoMix(), 3, *BACKBONE.normalisation, 0, 1).eval()
    for split, accuracy in (("val", result.val_accuracy), ("test", result.test_accuracy)):
        rows = table[table.split == split]
        assert list(rows.sample_id) == [row.sample_id for row in splits[split]]
        logits = torch.tensor(np.stack(rows.logits))
        assert accuracy == pytest.approx((logits.argmax(1).numpy() == rows.label).mean())
        pixels = [np.array(Image.open(row.path)) for row in splits[split]]
        images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
        with torch.inference_mode():
            torch.testing.assert_close(module(images), logits, atol=1e-4, rtol=1e-4)


def test_test_images_do_not_choose(done, splits, tmp_path) -> None:
    shuffled = [
        TrainingImage(row.sample_id, row.path, (row.label + 1) % 3) for row in splits["test"]
    ]
    result = run({**splits, "test": shuffled}, tmp_path)
    assert result.test_accuracy != done[0].test_accuracy
    assert result.history == done[0].history
    assert result.best_step == done[0].best_step


ARMS = {
    "randaugment": Augmentation(NoGenerated(), RANDAUGMENT, NoMix()),
    "cutmix": Augmentation(NoGenerated(), AsIs(), CutMix(1.0, 1.0)),
}


@pytest.mark.parametrize("arm", ARMS)
def test_the_same_seed_gives_the_same_bits(arm: str, splits, tmp_path) -> None:
    results = [run(splits, tmp_path / name, augmentation=ARMS[arm]) for name in "ab"]
    states = [load_file(f"{result.classifier}/{WEIGHTS}") for result in results]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert results[0].history == results[1].history
    other = run(splits, tmp_path / "c", augmentation=ARMS[arm], seed=1)
    assert other.history != results[0].history


def test_workers_and_memory_do_not_change_a_training(splits, tmp_path) -> None:
    arm = ARMS["randaugment"]
    kept = run(splits, tmp_path / "kept", augmentation=arm, loading=Loading(0, 1))
    read = run(splits, tmp_path / "read", augmentation=arm, loading=Loading(2, 0))
    assert read.history == kept.history
    states = [load_file(f"{result.classifier}/{WEIGHTS}") for result in (kept, read)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_every_arm_takes_the_same_steps(splits, tmp_path, monkeypatch) -> None:
    sizes: list[list[int]] = []
    real = Classifier.training_step

    def counted(self, batch, number):
        sizes[-1].append(len(batch[1]))
        return real(self, batch, number)

    monkeypatch.setattr(Classifier, "training_step", counted)
    twice = [*splits["train"], *splits["train"]]
    for rows, arm in ((splits["train"][:4], PLAIN), (twice, ARMS["cutmix"])):
        sizes.append([])
        result = run(splits, tmp_path, train_rows=rows, augmentation=arm)
        assert (result.steps, result.num_train) == (12, len(rows))
    assert sizes == [[8] * 12] * 2


def test_images_that_may_stand_in_for_others_are_training_images(splits, tmp_path) -> None:
    variants = [replace(row, sample_id=f"v{row.sample_id}", source=row.sample_id)
                for row in splits["train"]]  # fmt: skip
    arm = Augmentation(GeneratedMode("replace", 0.5, 1.0, None), AsIs(), NoMix())
    rows = [*splits["train"], *variants]
    result = run(splits, tmp_path, train_rows=rows, augmentation=arm, recipe=recipe(steps=3))
    assert (result.num_train, result.epochs) == (18, 3 * 8 / 9)


def test_arms_of_one_seed_start_from_the_same_weights(splits, tmp_path, monkeypatch) -> None:
    starts = []
    real = Classifier.__init__

    def kept(self, network, *others):
        starts.append({name: value.clone() for name, value in network.state_dict().items()})
        real(self, network, *others)

    monkeypatch.setattr(Classifier, "__init__", kept)
    for arm in ARMS.values():
        run(splits, tmp_path, augmentation=arm)
    assert all(torch.equal(starts[0][name], starts[1][name]) for name in starts[0])


def test_a_killed_run_leaves_no_result(splits, tmp_path, monkeypatch) -> None:
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sealed, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        run(splits, tmp_path)
    assert not (tmp_path / FOLDER / WEIGHTS).exists()


def test_lightning_is_silent_and_the_bar_is_ours(splits, tmp_path, capfd) -> None:
    run(splits, tmp_path)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.lstrip().startswith("classifier")
    assert not any(word in err for word in ("Lightning", "GPU", "num_workers", "Warning"))


def test_an_empty_split_is_refused(splits, tmp_path) -> None:
    with pytest.raises(UserError, match="must have images in train, got none"):
        run(splits, tmp_path, train_rows=[])


def test_training_from_scratch_is_stabilised_from_the_command_line(splits, tmp_path) -> None:
    short = ["classifier.steps=4", "classifier.val_every=2", "classifier.batch_size=8"]
    short += ["classifier.gradient_clip=null", "classifier.ema_decay=null"]
    keys = ("warmup_steps=1", "warmup_steps=2", "gradient_clip=0.01", "ema_decay=0.9")
    weights = []
    for key in keys:
        given = [*short, "classifier.warmup_steps=1", f"classifier.{key}"]
        config = composed("backbone=resnet_mini", *given)
        values, backbone = build(config.classifier), build(config.backbone)
        result = run(splits, tmp_path / key, recipe=values, backbone=backbone)
        weights.append(load_file(f"{result.classifier}/{WEIGHTS}")["fc.weight"])
    plain, *stabilised = weights
    assert not any(torch.equal(plain, other) for other in stabilised)
