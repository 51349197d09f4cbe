"""Measure the speed of generation: `python -m sip.benchmark generation`."""

import sys
from typing import TYPE_CHECKING

import sip.config.cli

if TYPE_CHECKING:
    from omegaconf import DictConfig


def task(config: "DictConfig") -> None:
    """Run the benchmark."""
    from sip.benchmark.generation import run

    run(config)


def main() -> None:
    """Run on the configuration of the command line; its first word may name what is measured."""
    if sys.argv[1:2] == ["generation"]:
        del sys.argv[1]
    sip.config.cli.main(task, config_name="benchmark")


if __name__ == "__main__":
    main()
