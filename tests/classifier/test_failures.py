"""A loss that is not finite names its batch; lost processes and memory are one line."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sip.classifier.failures import plain_errors
from sip.classifier.finite import NAME, Finite
from sip.classifier.loading import decode
from sip.classifier.module import Classifier
from sip.core.errors import DamagedError, UserError
from tests.classifier.made_up import Splits, run


def test_the_batch_that_did_it_is_named(
    splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = Classifier.training_step, []

    def broken(self: Classifier, batch: Any, number: int) -> torch.Tensor:
        seen.append(batch[0].numpy())
        loss = real(self, batch, number)
        return loss * float("nan") if self.global_step == 4 else loss

    monkeypatch.setattr(Classifier, "training_step", broken)
    with pytest.raises(UserError, match=r"the loss is nan at step 4 of 12; .*not_finite\.json"):
        run(splits, tmp_path)
    record = json.loads((tmp_path / NAME).read_text())
    assert (record["step"], record["loss"], record["seed"], record["lr"]) == (4, "nan", 0, 0.01)
    assert {"offline", "sample", "mix"} <= set(record["augmentation"])
    assert len(seen) == 5
    listed = np.stack([decode(image["file"], 32) for image in record["images"]])
    assert np.array_equal(listed, seen[-1])
    names = {row.path: (row.sample_id, row.label) for row in splits["train"]}
    for image in record["images"]:
        assert names[image["file"]] == (image["sample_id"], image["label"])
    monkeypatch.undo()
    run(splits, tmp_path)
    assert not (tmp_path / NAME).exists()


def watched(folder: Path, device: str, every: int) -> tuple[Finite, Any, Any]:
    finite = Finite(folder, lambda step: [], {}, every)
    module = SimpleNamespace(device=SimpleNamespace(type=device))
    return finite, SimpleNamespace(global_step=0, max_steps=99), module


def step(finite: Finite, trainer: Any, module: Any, loss: float) -> None:
    finite.on_train_batch_start(trainer, module, None, 0)
    trainer.global_step += 1
    finite.on_train_batch_end(trainer, module, {"loss": torch.tensor(loss)}, None, 0)


def test_on_a_gpu_some_steps_are_looked_at_together(tmp_path: Path) -> None:
    finite, trainer, module = watched(tmp_path, "cuda", 4)
    losses = [1.0] * 5 + [float("inf"), float("nan")]
    for loss in losses:
        step(finite, trainer, module, loss)
    with pytest.raises(UserError, match="the loss is inf at step 5 of 99"):
        step(finite, trainer, module, 1.0)


@pytest.mark.parametrize("hook", ["on_validation_start", "on_save_checkpoint"])
def test_nothing_is_kept_of_it(tmp_path: Path, hook: str) -> None:
    finite, trainer, module = watched(tmp_path, "cuda", 100)
    step(finite, trainer, module, float("nan"))
    more = ({},) if hook == "on_save_checkpoint" else ()
    with pytest.raises(UserError, match="the loss is nan at step 0"):
        getattr(finite, hook)(trainer, module, *more)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), "a batch of 8 images does not fit"),
        (RuntimeError("[enforce fail] can't allocate memory"), "a batch of 8 images"),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
            "was lost .killed by signal: Killed., often",
        ),
        (
            RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"),
            "was lost .exited unexpectedly., often",
        ),
        (
            DamagedError(
                "Caught DamagedError in DataLoader worker process 0.\nOriginal Traceback (most "
                'recent call last):\n  File "x"\nsip.core.errors.DamagedError: a.png: it broke\n'
            ),
            "^a.png: it broke$",
        ),
        (UserError("as it is"), "^as it is$"),
    ],
)
def test_one_line(error: Exception, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught, plain_errors(8):
        raise error
    assert "\n" not in str(caught.value)


def test_a_lost_process_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda ignored: shown.append(ignored.exc_value))
    lost = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
    with plain_errors(8):
        for error in ("before", lost, "pop from empty list"):  # as of what runs around a fork
            sys.unraisablehook(SimpleNamespace(exc_value=error))
    sys.unraisablehook(SimpleNamespace(exc_value="after"))
    assert shown == ["before", "after"]


def test_a_bug_stays_a_bug() -> None:
    with pytest.raises(RuntimeError, match="shapes"), plain_errors(8):
        raise RuntimeError("shapes do not match")
