"""Two processes train what one would: python -m sip.train trainer=ddp, over gloo."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sip
from tests.commands import run_module

SHORT = [
    "+exp=vit_sip",
    "dataset.shots=1",
    "images.num_steps=4",
    "classifier.steps=4",
    "classifier.val_every=2",
    "classifier.warmup_steps=1",
    "classifier.batch_size=6",
    "logger=csv",
    "metrics=[]",
    "train.leaks=false",
    "train.baseline=false",
    "mixing.mode=weighted",
    "backbone.drop_path=0",
    "runtime.device=cpu",
    "runtime.num_threads=1",
]


def train(store: Path, folder: Path, *more: str) -> Path:
    """Return the folder of the run."""
    env = os.environ | {"PYTHONPATH": str(Path(sip.__file__).parents[1])}
    arguments = [*SHORT, f"paths.store={store}", f"paths.runs={folder / 'runs'}", *more]
    if more:  # Lightning starts the second process by this one's command
        command = [sys.executable, "-m", "sip.train", *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    else:
        done = run_module("sip.train", arguments, folder / "said")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test top-1") == 1  # one process speaks
    (summary,) = folder.glob("runs/*/summary.json")
    return summary.parent


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[Path, Path]:
    store, one, two = (tmp_path_factory.mktemp(name) for name in ("store", "one", "two"))
    return train(store, one), train(store, two, "trainer=ddp", "trainer.devices=2")


def test_two_processes_come_to_the_same_predictions(runs: tuple[Path, Path]) -> None:
    one, two = (pd.read_parquet(run / "predictions.parquet") for run in runs)
    columns = ["sample_id", "split", "label"]
    pd.testing.assert_frame_equal(one[columns], two[columns])
    np.testing.assert_allclose(np.stack(one.logits), np.stack(two.logits), atol=2e-4)


def test_two_processes_are_the_same_run(runs: tuple[Path, Path]) -> None:
    one, two = (json.loads((run / "summary.json").read_text()) for run in runs)
    for key in ("fingerprint", "steps", "epochs", "num_real", "num_generated", "val_accuracy"):
        assert one[key] == two[key], key
    curves = [pd.read_csv(run / "metrics.csv")["val/loss"].dropna() for run in runs]
    np.testing.assert_allclose(*curves, atol=1e-4)
