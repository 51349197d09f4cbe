"""MLflow: curves, final numbers and sheets of a run, in a local database or on a server."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig
from pytorch_lightning.loggers import MLFlowLogger

from sip.core.text import values_without_paths
from sip.pipeline.stored import StoredImage
from sip.tracking.safely import SafeLogging, Safely
from sip.tracking.wandb import SHEETS

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"  # next to the run folders
FINGERPRINT = "fingerprint"  # tag of a run
SOURCES = {"classifier": "sip.train", "adapter": "sip.adapt"}  # what is trained -> the command


class SafeMLFlow(SafeLogging, MLFlowLogger):
    """Lightning's logger; the first failure is reported, and nothing is logged after it."""

    def finish(
        self, summary: Mapping[str, Any], folder: Path, images: Sequence[StoredImage]
    ) -> None:
        """Log the final numbers and the sheets, and end the run."""
        client, run_id = self.experiment, self.run_id
        for name, value in summary.items():
            client.log_metric(run_id, f"final/{name}", float(value))
        for name in SHEETS:
            if (file := folder / f"{name}.png").is_file():
                client.log_artifact(run_id, str(file))
        self.finalize("success")


def start(
    config: DictConfig,
    folder: Path,
    *,
    run_id: str,
    name: str,
    group: str | None,
    values: Mapping[str, Any],
    job_type: str,
    safely: Safely,
) -> SafeMLFlow:
    """Return a logger of a new run, or of the one that the same work began.

    Args:
        config: The `logger` node.
        folder: The run folder.
        run_id: Fingerprint of the run.
        name: Shown in MLflow.
        group: Name of the experiment, kept as a tag.
        values: The configuration; `paths` are left out. Those of a run that goes on stay.
        job_type: One of `SOURCES`.
    """
    uri = config.uri or f"sqlite:///{folder.absolute().parent / DATABASE}"
    client = _client(uri)
    earlier = _earlier(client, config.project, run_id)
    logger = SafeMLFlow(
        config.project,
        run_name=name,
        tracking_uri=uri,
        tags={
            FINGERPRINT: run_id,
            "experiment": str(group),
            "mlflow.source.name": SOURCES[job_type],
        },
        artifact_location=None if config.uri else str(folder.absolute().parent / ARTIFACTS),
        run_id=earlier,
    )
    logger.safely = safely
    if earlier is None or not client.get_run(earlier).data.params:  # MLflow lets none be changed
        shown = {key: value for key, value in values.items() if key != "paths"}
        logger.log_hyperparams(values_without_paths(shown))
    return logger


def _client(uri: str) -> "MlflowClient":
    """Return a client that reports nothing about its use and prints no remarks."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow.tracking import MlflowClient

    for name in ("mlflow", "alembic", "pytorch_lightning.loggers.mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return MlflowClient(uri)


def _earlier(client: "MlflowClient", project: str, fingerprint: str) -> str | None:
    """Return the id of the run with this fingerprint; None if there is none."""
    experiment = client.get_experiment_by_name(project)
    if experiment is None:
        return None
    wanted = f"tags.{FINGERPRINT} = '{fingerprint}'"
    runs = client.search_runs([experiment.experiment_id], wanted, max_results=1)
    return runs[0].info.run_id if runs else None
