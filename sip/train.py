"""The main job: `python -m sip.train +exp=resnet50_sip`."""

from typing import TYPE_CHECKING

import sip.config.cli

if TYPE_CHECKING:
    from omegaconf import DictConfig


def task(config: "DictConfig") -> float | tuple[float, ...] | None:
    """Generate what the run needs, train, print the table; return `train.objectives`."""
    from sip.jobs.train import train

    return train(config)


def main() -> None:
    """Run the main job on the command line's configuration."""
    sip.config.cli.main(task)


if __name__ == "__main__":
    main()
