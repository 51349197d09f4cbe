"""Only the generation: `python -m sip.generate +exp=resnet50_sip`, up to the generated images."""

from typing import TYPE_CHECKING

import sip.config.cli

if TYPE_CHECKING:
    from omegaconf import DictConfig


def task(config: "DictConfig") -> None:
    """Generate the images of the training part that are missing."""
    from sip.jobs.generate import generate

    generate(config)


def main() -> None:
    """Generate what the command line's configuration asks for."""
    sip.config.cli.main(task)


if __name__ == "__main__":
    main()
