"""Where curves and results go: always local files, and W&B if it is chosen.

Lightning's CSV logger begins a new `metrics.csv` at each start. So the old one is kept as
`metrics-1.csv`, `metrics-2.csv`, ... before, and the parts are joined at the end: of the steps that
were logged twice, those of the later start count.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig
from pytorch_lightning.loggers import CSVLogger, Logger

from sip.core.errors import UserError
from sip.core.files import write_atomically
from sip.core.progress import say
from sip.pipeline.stored import StoredImage
from sip.tracking.artifacts import GeneratedSet, publish, use
from sip.tracking.wandb import MAX_REASON, SafeLogger, Safely, log_images, log_sheets, start_run

if TYPE_CHECKING:
    import wandb

CURVES = "metrics.csv"
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
            newer = list(csv.DictReader(opened))
        first = min((int(row["step"]) for row in newer), default=0)
        rows = [row for row in rows if int(row["step"]) < first] + newer
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [",".join(columns)]
    lines += [",".join(row.get(column) or "" for column in columns) for row in rows]
    write_atomically(folder / CURVES, "\n".join(lines) + "\n")
    for part in parts:
        part.unlink()


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
) -> list[Logger]:
    """Return Lightning loggers: `metrics.csv` in the run folder, and W&B if `config.wandb`.

    If W&B fails, the run goes on without it.

    Args:
        config: The `logger` node.
        folder: The run folder.
        run_id: The run's fingerprint; the same run is the same W&B run.
        name: Shown in W&B.
        group: Name of the experiment.
        values: The resolved configuration.
        images: Generated images to train on; become an artifact if `config.log_artifacts`.
    """
    loggers: list[Logger] = [CSVLogger(folder, name="", version="")]
    if config.wandb:
        safely = Safely()
        run = safely(partial(_start, config, folder, run_id, name, group, values, images))
        if run is not None:
            loggers.append(SafeLogger(run, safely))
    return loggers


def _start(
    config: DictConfig,
    folder: Path,
    run_id: str,
    name: str,
    group: str | None,
    values: Mapping[str, Any],
    images: GeneratedSet | None,
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
        job_type="classifier",
        values=values,
    )
    if images is not None and artifact is not None:
        use(run, images, artifact)
    return run


def require_logger(config: DictConfig) -> None:
    """Check the `logger` node before any work.

    Raises:
        UserError: A value is wrong, or W&B is not installed or refuses the login.
    """
    if not config.wandb:
        return
    if config.mode not in ("offline", "online"):
        raise UserError(f"logger.mode: must be offline or online, got {config.mode!r}")
    if type(config.max_images) is not int or config.max_images < 0:
        raise UserError(
            f"logger.max_images: must be a whole number >= 0, got {config.max_images!r}"
        )
    try:
        import wandb  # noqa: F401
    except ImportError as error:
        raise UserError(
            "logger=wandb: the package wandb is not installed; install it, or choose logger=csv"
        ) from error
    if config.mode == "online" and not _logged_in():
        raise UserError(
            "logger.mode=online needs a W&B login, and there is none; run `wandb login`, or leave "
            "logger.mode=offline and upload later with `wandb sync`"
        )


def _logged_in() -> bool:
    """Return whether there is a login; True too if nobody can be asked: the run goes on then.

    Raises:
        UserError: W&B refuses it.
    """
    import wandb

    try:
        return bool(wandb.login(prompt=False))
    except Exception as error:  # its own kinds, of refusals and of networks alike
        reason = " ".join(str(error).split())[:MAX_REASON]
        if REFUSED.search(reason):
            raise UserError(
                f"logger.mode=online: W&B refuses the login ({reason}); run `wandb login --relogin`"
            ) from error
        say("wandb", f"{reason}; it is tried again when the run is logged")
        return True


def log_results(
    config: DictConfig,
    loggers: Sequence[Logger],
    summary: Mapping[str, Any],
    folder: Path,
    images: Sequence[StoredImage],
) -> None:
    """Write the final numbers, the run folder's sheets and a table of images; close W&B.

    Args:
        config: The `logger` node.
        loggers: Loggers of `make_loggers`.
        summary: Name -> number.
        folder: The run folder.
        images: Generated images; `config.max_images` of them are shown.
    """
    for logger in loggers:
        if isinstance(logger, SafeLogger):
            logger.safely(partial(_finish, config, logger.experiment, summary, folder, images))


def _finish(
    config: DictConfig,
    run: "wandb.Run",
    summary: Mapping[str, Any],
    folder: Path,
    images: Sequence[StoredImage],
) -> None:
    log_sheets(run, folder)
    log_images(run, images, config.max_images)
    run.summary.update(dict(summary))
    run.finish()
