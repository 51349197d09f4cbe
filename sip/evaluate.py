"""Metrics of finished runs from their stored predictions: `python -m sip.evaluate runs=runs`."""

from pathlib import Path
from typing import TYPE_CHECKING

import sip.config.cli

if TYPE_CHECKING:
    from omegaconf import DictConfig


def task(config: "DictConfig") -> None:
    """Compute all metrics again and write them into each run's summary."""
    from sip.core.text import counted
    from sip.jobs.evaluate import refresh

    num = refresh(Path(config.runs))
    print(f"{config.runs}: all metrics of {counted(num, 'run')} are up to date")


def main() -> None:
    """Run on the command line's configuration."""
    sip.config.cli.main(task, config_name="evaluate")


if __name__ == "__main__":
    main()
