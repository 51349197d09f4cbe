"""Where curves and results go: always local files, and W&B where it is chosen."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger

from sip.common.errors import UserError


def make_loggers(
    config: DictConfig, folder: Path, *, run_id: str, name: str, group: str | None, values: dict
) -> list[Logger]:
    """Return Lightning loggers: `metrics.csv` in the run folder, and W&B if `config.wandb`.

    Args:
        config: The `logger` node.
        folder: The run folder.
        run_id: The run's fingerprint; the same run is the same W&B run.
        name: Shown in W&B.
        group: The experiment.
        values: The resolved configuration.
    """
    loggers: list[Logger] = [CSVLogger(folder, name="", version="")]
    if config.wandb:
        loggers.append(_wandb(config, folder, run_id, name, group, values))
    return loggers


def _wandb(
    config: DictConfig, folder: Path, run_id: str, name: str, group: str | None, values: dict
) -> WandbLogger:
    import wandb

    run = wandb.init(
        name=name,
        dir=str(folder),
        id=run_id,
        project=config.project,
        entity=config.entity,
        group=group,
        mode=config.mode,
        resume="allow" if config.mode == "online" else None,
        config=values,
        settings=wandb.Settings(silent=True),
    )
    return WandbLogger(experiment=run)


def require_logger(config: DictConfig) -> None:
    """Check the `logger` node before any work.

    Raises:
        UserError: W&B is wanted in a way that cannot be.
    """
    if not config.wandb:
        return
    if config.mode not in ("offline", "online"):
        raise UserError(f"logger.mode: expected offline or online, got {config.mode!r}")
    try:
        import wandb
    except ImportError as error:
        raise UserError(
            "logger=wandb: the package wandb is not installed; install it, or choose logger=csv"
        ) from error
    if config.mode == "online" and not wandb.login(prompt=False):
        raise UserError(
            "logger.mode=online needs a W&B login, and there is none; run `wandb login`, or leave "
            "logger.mode=offline and upload later with `wandb sync`"
        )


def log_results(loggers: list[Logger], summary: dict[str, Any], sheet: Path | None) -> None:
    """Write the final numbers and the contact sheet, and close W&B."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            if sheet is not None:
                logger.log_image("contact_sheet", [str(sheet)])
            logger.experiment.summary.update(summary)
            import wandb

            wandb.finish()
