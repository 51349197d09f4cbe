"""Where curves and results go: always local files, and W&B where it is chosen."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig
from pytorch_lightning.loggers import CSVLogger, Logger

from sip.core.errors import UserError
from sip.core.progress import say
from sip.pipeline.offline import Picture
from sip.tracking import artifacts as drawn_sets
from sip.tracking import wandb_runs
from sip.tracking.artifacts import DrawnSet
from sip.tracking.wandb_safe import MAX_REASON, SafeLogger, Safely

if TYPE_CHECKING:
    import wandb

REFUSED = re.compile(r"40[13]|permission|invalid|api.?key", re.IGNORECASE)


def make_loggers(
    config: DictConfig,
    folder: Path,
    *,
    run_id: str,
    name: str,
    group: str | None,
    values: Mapping[str, Any],
    drawn: DrawnSet | None = None,
) -> list[Logger]:
    """Return Lightning loggers: `metrics.csv` in the run folder, and W&B if `config.wandb`.

    Where W&B fails, that is said, and the run goes on without it.

    Args:
        config: The `logger` node.
        folder: The run folder.
        run_id: The run's fingerprint; the same run is the same W&B run.
        name: Shown in W&B.
        group: The experiment.
        values: The resolved configuration, and whatever else was known before the training.
        drawn: What is trained on beside the originals; becomes an artefact where
            `config.log_artifacts` asks for it.
    """
    loggers: list[Logger] = [CSVLogger(folder, name="", version="")]
    if config.wandb:
        safely = Safely()
        given = partial(_start, config, folder, run_id, name, group, values, drawn)
        run = safely(given)
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
    drawn: DrawnSet | None,
) -> "wandb.Run":
    """Start a W&B run, after one that logs the drawn set where that is asked for."""
    made = None
    if drawn is not None and config.log_artifacts:
        made = drawn_sets.publish(drawn, config, folder, group)
        values = {**values, "drawn_set": drawn.name}
    run = wandb_runs.start(
        config,
        folder,
        run_id=run_id,
        name=name,
        group=group,
        job_type="classifier",
        values=values,
    )
    if drawn is not None and made is not None:
        drawn_sets.use(run, drawn, made)
    return run


def require_logger(config: DictConfig) -> None:
    """Check the `logger` node before any work.

    Raises:
        UserError: W&B is wanted in a way that cannot be.
    """
    if not config.wandb:
        return
    if config.mode not in ("offline", "online"):
        raise UserError(f"logger.mode: expected offline or online, got {config.mode!r}")
    if type(config.max_pictures) is not int or config.max_pictures < 0:
        raise UserError(
            f"logger.max_pictures: expected a whole number >= 0, came {config.max_pictures!r}"
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
    """Return whether there is a login; True too where nobody can be asked: the run goes on then.

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
    pictures: Sequence[Picture],
) -> None:
    """Write the final numbers, the run folder's sheets and a table of pictures; close W&B.

    Args:
        config: The `logger` node.
        loggers: Of `make_loggers`.
        summary: Numbers by name.
        folder: The run folder.
        pictures: Drawn ones; `config.max_pictures` of them are shown.
    """
    for logger in loggers:
        if isinstance(logger, SafeLogger):
            logger.safely(partial(_finish, config, logger.experiment, summary, folder, pictures))


def _finish(
    config: DictConfig,
    run: "wandb.Run",
    summary: Mapping[str, Any],
    folder: Path,
    pictures: Sequence[Picture],
) -> None:
    wandb_runs.log_sheets(run, folder)
    wandb_runs.log_pictures(run, pictures, config.max_pictures)
    run.summary.update(dict(summary))
    run.finish()
