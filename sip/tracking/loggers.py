"""Where curves and results go: always local files, and one tracker if it is chosen.

Lightning's CSV logger begins a new `metrics.csv` at each start. So the old one is kept as
`metrics-1.csv`, `metrics-2.csv`, ... before, and the parts are joined at the end: of the steps that
were logged twice, those of the later start count.
"""

import csv
import re
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from omegaconf import DictConfig
from pytorch_lightning.loggers import CSVLogger, Logger

from sip.core.errors import UserError
from sip.core.extras import install_extras
from sip.core.files import write_atomically
from sip.core.progress import say
from sip.core.text import reason_of
from sip.pipeline.stored import StoredImage
from sip.tracking import mlflow, tensorboard
from sip.tracking.artifacts import GeneratedSet, publish, use
from sip.tracking.safely import MAX_REASON, SafeLogging, Safely
from sip.tracking.wandb import SafeLogger, start_run

if TYPE_CHECKING:
    import wandb

CURVES = "metrics.csv"
PACKAGES = {"csv": "", "wandb": "wandb", "tensorboard": "tensorboard", "mlflow": "mlflow"}
REFUSED = re.compile(r"40[13]|permission|invalid|api.?key", re.IGNORECASE)


def keep_curves(folder: Path, resumes: bool) -> None:
    """Keep the curves of an earlier start if the training resumes from it, else delete them.

    Args:
        folder: The run folder.
        resumes: Whether there is a checkpoint to go on from.
    """
    parts = _parts(folder)
    if not resumes:
        for part in parts:
            part.unlink()
        shutil.rmtree(folder / tensorboard.EVENTS, ignore_errors=True)
    elif (folder / CURVES).exists():
        (folder / CURVES).rename(folder / f"metrics-{len(parts) + 1}.csv")


def join_curves(folder: Path) -> None:
    """Join the curves of all starts into one `metrics.csv`."""
    parts = _parts(folder)
    if not parts:
        return
    rows: list[dict[str, Any]] = []
    for file in [*parts, folder / CURVES]:
        with file.open(newline="") as opened:
            newer = [row for row in csv.DictReader(opened) if _is_whole(row)]
        first = min((int(row["step"]) for row in newer), default=0)
        rows = [row for row in rows if int(row["step"]) < first] + newer
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [",".join(columns)]
    lines += [",".join(row.get(column) or "" for column in columns) for row in rows]
    write_atomically(folder / CURVES, "\n".join(lines) + "\n")
    for part in parts:
        part.unlink()


def _is_whole(row: Mapping[str, str | None]) -> bool:
    """Return whether a row has all its columns: a start that was killed may have cut its last."""
    return None not in row.values() and (row.get("step") or "").isdigit()


def _parts(folder: Path) -> list[Path]:
    """Return the curves of earlier starts, the oldest first."""
    return sorted(folder.glob("metrics-*.csv"), key=lambda part: int(part.stem.split("-")[1]))


def make_loggers(
    config: DictConfig,
    folder: Path,
    *,
    run_id: str,
    name: str,
    group: str | None,
    values: Mapping[str, Any],
    images: GeneratedSet | None = None,
    job_type: str = "classifier",
) -> list[Logger]:
    """Return Lightning loggers: `metrics.csv` in the run folder, and that of `config.kind`.

    If the tracker fails, the run goes on without it.

    Args:
        config: The `logger` node.
        folder: The run folder.
        run_id: The run's fingerprint; the same run is the same one in W&B and in MLflow.
        name: Shown there.
        group: Name of the experiment.
        values: The resolved configuration.
        images: Generated images to train on; become an artifact if `config.log_artifacts`.
        job_type: What is trained, one of `sip.tracking.mlflow.SOURCES`.
    """
    loggers: list[Logger] = [CSVLogger(folder, name="", version="")]
    safely = Safely(config.kind)
    tracker: Logger | None = None
    if config.kind == "wandb":
        run = safely(partial(_start, config, folder, run_id, name, group, values, images, job_type))
        tracker = SafeLogger(run, safely, config.max_images) if run is not None else None
    elif config.kind == "tensorboard":
        tracker = safely(partial(tensorboard.start, folder, values, safely))
    elif config.kind == "mlflow":
        tracker = safely(
            partial(
                mlflow.start,
                config,
                folder,
                run_id=run_id,
                name=name,
                group=group,
                values=values,
                job_type=job_type,
                safely=safely,
            )
        )
    return loggers if tracker is None else [*loggers, tracker]


def _start(
    config: DictConfig,
    folder: Path,
    run_id: str,
    name: str,
    group: str | None,
    values: Mapping[str, Any],
    images: GeneratedSet | None,
    job_type: str,
) -> "wandb.Run":
    """Start a W&B run, after one that logs the generated images if `config.log_artifacts`."""
    artifact = None
    if images is not None and config.log_artifacts:
        artifact = publish(images, config, folder, group)
        values = {**values, "generated_set": images.name}
    run = start_run(
        config,
        folder,
        run_id=run_id,
        name=name,
        group=group,
        job_type=job_type,
        values=values,
    )
    if images is not None and artifact is not None:
        use(run, images, artifact)
    return run


def require_logger(config: DictConfig) -> None:
    """Check the `logger` node before any work.

    Raises:
        UserError: A value is wrong, a package is not installed, or W&B refuses the login.
    """
    if config.kind not in PACKAGES:
        raise UserError(
            f"logger.kind: must be {', '.join(PACKAGES)}, got {config.kind!r}; choose it with "
            "logger=csv and the like"
        )
    uri = urlsplit(str(config.get("uri") or ""))
    if uri.password is not None or (uri.scheme in ("http", "https") and uri.username):
        raise UserError(
            "logger.uri: must be without user and password, which files of the run would repeat; "
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment"
        )
    package = PACKAGES[config.kind]
    if package and find_spec(package) is None:
        raise UserError(
            f"logger={config.kind}: the package {package} is not installed; "
            f"{install_logger(package)}, or choose logger=csv"
        )
    if config.kind != "wandb":
        return
    if config.mode not in ("offline", "online"):
        raise UserError(f"logger.mode: must be offline or online, got {config.mode!r}")
    if type(config.max_images) is not int or config.max_images < 0:
        raise UserError(
            f"logger.max_images: must be a whole number >= 0, got {config.max_images!r}"
        )
    if config.mode == "online" and not _logged_in():
        raise UserError(
            "logger.mode=online needs a W&B login, and there is none; run `wandb login`, or leave "
            "logger.mode=offline and upload later with `wandb sync`"
        )


def install_logger(package: str) -> str:
    """Return the command that installs a tracker."""
    return "pip install wandb" if package == "wandb" else install_extras(package)


def _logged_in() -> bool:
    """Return whether there is a login; True too if nobody can be asked: the run goes on then.

    Raises:
        UserError: W&B refuses it.
    """
    import wandb

    try:
        return bool(wandb.login(prompt=False))
    except Exception as error:  # its own kinds, of refusals and of networks alike
        reason = reason_of(error)[:MAX_REASON]
        if REFUSED.search(reason):
            raise UserError(
                f"logger.mode=online: W&B refuses the login ({reason}); run `wandb login --relogin`"
            ) from error
        say("wandb", f"{reason}; it is tried again when the run is logged")
        return True


def log_results(
    loggers: Sequence[Logger],
    summary: Mapping[str, Any],
    folder: Path,
    images: Sequence[StoredImage],
) -> bool:
    """Write the final numbers and the run folder's sheets to the tracker, and close it.

    Returns:
        Whether there is a tracker that has got everything.

    Args:
        loggers: Loggers of `make_loggers`.
        summary: Name -> number.
        folder: The run folder.
        images: Generated images; W&B shows some in a table.
    """
    trackers = [logger for logger in loggers if isinstance(logger, SafeLogging)]
    for tracker in trackers:
        tracker.safely(partial(tracker.finish, summary, folder, images))
    return bool(trackers) and not any(tracker.safely.failed for tracker in trackers)
