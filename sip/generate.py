"""Only the offline part: `python -m sip.generate +exp=resnet50_sip`, up to the drawn pictures."""

from typing import TYPE_CHECKING

import sip.cli

if TYPE_CHECKING:
    from omegaconf import DictConfig


def task(config: "DictConfig") -> None:
    """Draw the pictures of the training part that are missing."""
    from sip.generation import generate

    generate(config)


def main() -> None:
    """Draw what the command line's configuration asks for."""
    sip.cli.main(task)


if __name__ == "__main__":
    main()
