"""A training that is stopped anywhere goes on to the same bytes; the same recipe is cached."""

import pytest
import torch
from pytorch_lightning import Callback

from sip.adapt import fit, training, watch
from sip.adapt.job import Adaptation
from sip.classifier import resume
from tests.adapt.conftest import LORA, STEPS, adapted


class KilledError(Exception):
    """Stands for SIGKILL: nothing is written after it."""


class Kill(Callback):
    """Ends a training after a batch."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_number):
        if batch_number == self.batch:
            raise KilledError


def killing(monkeypatch, batch):
    """Let the next training die after a batch."""
    real = fit.fit

    def killed(*args, callbacks=(), **kwargs):
        return real(*args, callbacks=[*callbacks, Kill(batch)], **kwargs)

    monkeypatch.setattr(training, "fit", killed)


@pytest.fixture
def each_step(monkeypatch):
    """Write a checkpoint and a point of the curve at each step."""
    monkeypatch.setattr(watch, "LOG_EVERY", 1)
    monkeypatch.setattr(resume, "EVERY", 0.0)
    monkeypatch.setattr(resume, "SHARE", 1e9)


def test_kills_at_several_batches_change_no_byte(
    configure, lora_run, tmp_path, monkeypatch, each_step
):
    config = configure(tmp_path, *LORA)
    for batch in (1, 2, 5):  # after the first step, within the second, at the end of the third
        with monkeypatch.context() as patched:
            killing(patched, batch)
            with pytest.raises(KilledError):
                Adaptation(config).run()
    (checkpoint,) = (tmp_path / "runs").glob("*/.unfinished.ckpt")
    stored = torch.load(checkpoint, weights_only=True)
    assert 0 < stored["global_step"] < STEPS
    assert all("lora_" in name for name in stored["state_dict"])  # nothing of the model itself
    run = adapted(config)
    for name in ("pytorch_lora_weights.safetensors", "validation.png", "loss.png"):
        assert (run / name).read_bytes() == (lora_run / name).read_bytes(), name
    assert run.name == lora_run.name and not checkpoint.exists()


def test_the_same_recipe_is_cached_and_its_folder_comes_back(configure, lora_run, monkeypatch):
    config = configure(lora_run.parents[1], *LORA)
    monkeypatch.setattr(training, "train", None)
    monkeypatch.setattr(watch, "LOG_EVERY", 1)
    before = {file.name: file.read_bytes() for file in lora_run.glob("*.[sp]*")}
    assert len(before) == 3
    for name in before:
        (lora_run / name).unlink()
    assert adapted(config) == lora_run
    assert {file.name: file.read_bytes() for file in lora_run.glob("*.[sp]*")} == before


def test_seed_images_and_settings_are_another_recipe(configure, tmp_path):
    def key(*overrides):
        work = Adaptation(configure(tmp_path, *overrides))
        from sip.adapt.data import rows_key

        return work.stage.fingerprint, rows_key(work.rows())

    first = key()
    assert key("method.gradient_checkpointing=true", "method.validate_every=3") == first
    assert key("method.rank=2")[0] != first[0] and key("seed=1")[0] != first[0]
    assert key("dataset.shots=2")[1] != first[1] and key("dataset.shots=2")[0] == first[0]
    texts = key("method.templates=['a {label}']")
    assert texts[0] != first[0] and texts[1] != first[1]
