"""A training that is cut off anywhere comes to the same weights, curve and predictions."""

import os
import signal
from pathlib import Path

import pandas as pd
import pytest
import torch
from pytorch_lightning.loggers import CSVLogger
from safetensors.torch import load_file

from sip.augmentation.base import Augmentation
from sip.augmentation.mix.cutmix import CutMix
from sip.augmentation.offline.none import NoGenerated
from sip.backbone.saved import FOLDER, WEIGHTS
from sip.backbone.timm import Timm
from sip.classifier import resume
from sip.classifier.base import UNFINISHED, Result
from sip.classifier.module import Classifier
from sip.core.interrupt import Stopped
from tests.classifier.made_up import RECIPE, run
from tests.classifier.recipes import RANDAUGMENT, recipe

STEPS = RECIPE.steps
# The average of the weights is part of the state; stochastic depth takes random numbers inside of
# the network.
CHANGED = {
    "augmentation": Augmentation(NoGenerated(), RANDAUGMENT, CutMix(1.0, 0.5)),
    "recipe": recipe(ema_decay=0.9, gradient_clip=1.0),
    "backbone": Timm("test_vit", None, None, None, None, 0.2, 32, None, None),
}


@pytest.fixture(scope="module")
def unbroken(splits, tmp_path_factory) -> tuple[Result, Path]:
    folder = tmp_path_factory.mktemp("unbroken")
    return run(splits, folder, [CSVLogger(str(folder), name="", version="")], **CHANGED), folder


def break_at(monkeypatch, wanted: int, act) -> None:
    """Let `act` happen within the training step after `wanted` steps."""
    real = Classifier.training_step

    def broken(self, batch, number):
        if self.global_step == wanted:
            act()
        return real(self, batch, number)

    monkeypatch.setattr(Classifier, "training_step", broken)


def crash() -> None:
    raise RuntimeError("the power fails")


def assert_same(result: Result, folder: Path, unbroken: tuple[Result, Path]) -> None:
    expected, there = unbroken
    states = [load_file(path / FOLDER / WEIGHTS) for path in (folder, there)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
    assert result.history == expected.history
    assert (result.best_step, result.steps) == (expected.best_step, STEPS)
    tables = [pd.read_parquet(path / "predictions.parquet") for path in (folder, there)]
    pd.testing.assert_frame_equal(*tables)


@pytest.mark.parametrize("step", [1, 3, 4, STEPS - 1])  # val is after 3, 6, 9 and 12
def test_a_crash_at_any_step_changes_nothing(step, splits, unbroken, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(resume, "EVERY", 0.0)
    monkeypatch.setattr(resume, "SHARE", 1e9)
    with monkeypatch.context() as patch:
        break_at(patch, step, crash)
        with pytest.raises(RuntimeError, match="the power fails"):
            run(splits, tmp_path, **CHANGED)
    assert not (tmp_path / FOLDER / WEIGHTS).exists()
    seen: list[int] = []
    break_at(monkeypatch, step, lambda: seen.append(step))
    assert_same(run(splits, tmp_path, **CHANGED), tmp_path, unbroken)
    assert seen == [step]  # and not from the beginning, which would come to the same


def test_two_crashes_with_checkpoints_now_and_then(splits, unbroken, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(resume, "EVERY", 1e9)
    with monkeypatch.context() as patch:
        real = resume.Checkpoints.on_train_batch_start

        def at_five(self, trainer, *others):
            self.every = 0.0 if trainer.global_step == 5 else 1e9
            real(self, trainer, *others)

        patch.setattr(resume.Checkpoints, "on_train_batch_start", at_five)
        for step in (8, 10):
            with patch.context() as inner, pytest.raises(RuntimeError):
                break_at(inner, step, crash)
                run(splits, tmp_path, **CHANGED)
    assert_same(run(splits, tmp_path, **CHANGED), tmp_path, unbroken)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_writes_a_checkpoint_and_stops(
    number, splits, unbroken, tmp_path, monkeypatch
) -> None:
    with monkeypatch.context() as patch:
        break_at(patch, 4, lambda: os.kill(os.getpid(), number))
        with pytest.raises(Stopped) as stopped:
            run(splits, tmp_path, **CHANGED)
    assert stopped.value.signum == number
    seen: list[int] = []
    for step in (4, 5):
        break_at(monkeypatch, step, lambda step=step: seen.append(step))
    stored = torch.load(tmp_path / UNFINISHED, weights_only=True)["callbacks"]
    (before,) = (state["seconds"] for state in stored.values() if "seconds" in state)
    result = run(splits, tmp_path, **CHANGED)
    assert_same(result, tmp_path, unbroken)
    assert seen == [5]
    assert 0 < before == result.earlier < result.seconds


def test_the_logged_curve_goes_on_with_its_steps(splits, unbroken, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(resume, "EVERY", 0.0)
    monkeypatch.setattr(resume, "SHARE", 1e9)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        break_at(patch, 7, crash)
        run(splits, tmp_path, **CHANGED)
    folder = tmp_path / "second"
    folder.mkdir()
    (tmp_path / UNFINISHED).rename(folder / UNFINISHED)
    run(splits, folder, [CSVLogger(str(folder), name="", version="")], **CHANGED)
    columns = ["step", "val/accuracy"]
    tables = [pd.read_csv(path / "metrics.csv")[columns].dropna() for path in (unbroken[1], folder)]
    pd.testing.assert_frame_equal(
        tables[0].iloc[2:].reset_index(drop=True), tables[1].reset_index(drop=True)
    )


@pytest.mark.parametrize("content", [b"", b"no checkpoint"])
def test_a_broken_checkpoint_is_said_and_not_used(
    content, splits, unbroken, tmp_path, capfd
) -> None:
    (tmp_path / UNFINISHED).write_bytes(content)
    assert_same(run(splits, tmp_path, **CHANGED), tmp_path, unbroken)
    assert "cannot be read" in capfd.readouterr().err


def test_a_checkpoint_of_other_images_is_not_used(splits, tmp_path, monkeypatch, capfd) -> None:
    monkeypatch.setattr(resume, "EVERY", 0.0)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        break_at(patch, 7, crash)
        run(splits, tmp_path, **CHANGED)
    fewer = splits | {"train": splits["train"][:6]}
    changed, fresh = run(fewer, tmp_path, **CHANGED), run(fewer, tmp_path / "fresh", **CHANGED)
    assert changed.history == fresh.history
    assert "are not the checkpoint's" in capfd.readouterr().err
