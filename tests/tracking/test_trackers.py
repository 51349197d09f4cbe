"""What TensorBoard and MLflow log offline is read back with their own readers."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from omegaconf import DictConfig
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sip.core.errors import UserError
from sip.tracking.loggers import keep_curves, log_results, make_loggers, require_logger
from tests.composing import composed

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Experiment logs")
SUMMARY = {"test/top1": 0.75, "best_step": 20}
VALUES = {"seed": 3, "paths": {"runs": "/home/me/runs"}, "dataset": {"root": "/home/me/pets"}}


def node(kind: str) -> DictConfig:
    return composed(f"logger={kind}").logger


def log(kind: str, folder: Path, step: int = 7, **changes: Any) -> None:
    """Log one run as a job does, with a sheet of 3 x 2 pixels."""
    named = {"run_id": "0123456789", "name": "vit-sip-seed0", "group": "main", "values": VALUES}
    config = node(kind)
    require_logger(config)
    loggers = make_loggers(config, folder, **(named | changes))
    assert len(loggers) == 2
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (3, 2), "red").save(folder / "contact_sheet.png")
    for logger in loggers:
        logger.log_metrics({"val/accuracy": 0.25}, step=step)
        logger.finalize("success")  # as at the end of a fit
    log_results(loggers, SUMMARY, folder, [])


def test_tensorboard_is_read_back(tmp_path: Path) -> None:
    log("tensorboard", tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    scalars = {tag: events.Scalars(tag)[-1] for tag in events.Tags()["scalars"]}
    assert (scalars["val/accuracy"].step, scalars["val/accuracy"].value) == (7, 0.25)
    assert (scalars["final/test/top1"].step, scalars["final/test/top1"].value) == (20, 0.75)
    (image,) = events.Images("contact_sheet")
    assert (image.width, image.height) == (3, 2)
    settings = (tmp_path / "run" / "tensorboard" / "hparams.yaml").read_text()
    assert "seed: 3" in settings and "root: pets" in settings and "/home/me" not in settings


@pytest.mark.parametrize("resumes", [True, False])
def test_tensorboard_keeps_the_curves_of_a_run_that_goes_on(tmp_path: Path, resumes: bool) -> None:
    log("tensorboard", tmp_path)
    keep_curves(tmp_path, resumes)
    log("tensorboard", tmp_path, step=9)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    steps = sorted(event.step for event in events.Scalars("val/accuracy"))
    assert steps == ([7, 9] if resumes else [9])


def test_mlflow_is_read_back_from_a_local_database(tmp_path: Path) -> None:
    log("mlflow", tmp_path / "run")
    log("mlflow", tmp_path / "run", step=9)  # the same run again
    log("mlflow", tmp_path / "other", run_id="9876543210", name="vit-none-seed0")
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("sip")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert runs.keys() == {"vit-sip-seed0", "vit-none-seed0"}
    run = runs["vit-sip-seed0"]
    assert run.data.metrics == {
        "val/accuracy": 0.25,
        "final/test/top1": 0.75,
        "final/best_step": 20,
    }
    history = client.get_metric_history(run.info.run_id, "val/accuracy")
    assert sorted(point.step for point in history) == [7, 9]
    assert run.data.params == {"seed": "3", "dataset/root": "pets"}
    assert run.data.tags["experiment"] == "main" and run.info.status == "FINISHED"
    (file,) = client.list_artifacts(run.info.run_id)
    sheet = client.download_artifacts(run.info.run_id, file.path, str(tmp_path))
    assert np.asarray(Image.open(sheet)).shape == (2, 3, 3)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_mlflow_keeps_the_settings_of_the_start_of_a_run_that_goes_on(tmp_path: Path) -> None:
    on_gpu = VALUES | {"runtime": {"device": "cuda"}}
    log("mlflow", tmp_path / "run", values=on_gpu, job_type="adapter")
    log("mlflow", tmp_path / "run", step=9, values=VALUES | {"runtime": {"device": "cpu"}})
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("sip")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.tags["mlflow.source.name"] == "sip.adapt"
    assert run.data.params["runtime/device"] == "cuda"
    history = client.get_metric_history(run.info.run_id, "val/accuracy")
    assert sorted(point.step for point in history) == [7, 9]


def test_a_server_out_of_reach_does_not_stop_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    config = node("mlflow")
    config.uri = "http://127.0.0.1:9"
    named = {"run_id": "0", "name": "n", "group": None, "values": VALUES}
    assert len(make_loggers(config, tmp_path, **named)) == 1
    assert "going on without it: the run's folder holds everything" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["tensorboard", "mlflow"])
def test_a_missing_package_is_one_line(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sip.tracking.loggers.find_spec", lambda name: None)
    text = rf"{kind} is not installed; pip install -e '.*\[{kind}\]', or choose"
    with pytest.raises(UserError, match=text):
        require_logger(node(kind))


@pytest.mark.parametrize("user", ["me:secret", "secret"])
def test_a_password_in_the_address_is_refused_and_not_repeated(user: str) -> None:
    config = node("mlflow")
    config.uri = "postgresql://me@host/runs"  # without a password
    require_logger(config)
    config.uri = f"https://{user}@host:5000"
    with pytest.raises(UserError, match="^logger.uri: must be without user and pass") as error:
        require_logger(config)
    assert "secret" not in str(error.value)


def test_an_unknown_kind_is_one_line() -> None:
    config = node("csv")
    config.kind = "comet"
    with pytest.raises(UserError, match="logger.kind: must be csv, wandb, .*, got 'comet'"):
        require_logger(config)
