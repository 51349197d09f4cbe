"""Metrics of finished runs, on their own test images or on another data set.

python -m sip.evaluate                         of all runs again, from stored predictions
python -m sip.evaluate run=runs/<name> dataset=image_folder dataset.root=FOLDER part=all
"""

from pathlib import Path
from typing import TYPE_CHECKING

import sip.config.cli

if TYPE_CHECKING:
    from omegaconf import DictConfig


def task(config: "DictConfig") -> None:
    """Write the metrics next to the runs."""
    from sip.core.text import counted

    if config.get("dataset") is not None:
        _on_dataset(config)
        return
    from sip.core.component import refuse
    from sip.jobs.evaluate import refresh

    if not isinstance(config.runs, str):
        raise refuse("runs", "a folder", config.runs, "say runs=FOLDER")
    if config.run is not None and not isinstance(config.run, str):
        raise refuse("run", "one folder", config.run, "say run=runs/<name>, or none for all runs")
    only = None if config.run is None else Path(config.run)
    num = refresh(Path(config.runs), only)
    print(f"{only or config.runs}: all metrics of {counted(num, 'run')} are up to date")


def _on_dataset(config: "DictConfig") -> None:
    from sip.backbone.saved import SavedClassifier
    from sip.config.build import build
    from sip.config.provenance import choice
    from sip.jobs.evaluate_dataset import EvaluateOptions, evaluate_on

    options = EvaluateOptions.of(config)
    saved = SavedClassifier.of(Path(options.run))
    config.profile.image_size = saved.input_size
    print(evaluate_on(options, saved, build(config.dataset), choice("dataset")).table())


def main() -> None:
    """Run on the command line's configuration."""
    sip.config.cli.main(task, config_name="evaluate")


if __name__ == "__main__":
    main()
