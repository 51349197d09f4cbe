"""The model card of a stack: `python -m sip.stack.quality profile=cifar10 num_samples=10000`.

Measures the stack that `sip.stack.build` trained with the same settings, on images that it did
not see, and writes README.md, quality.json and contact_sheet.png next to the models.
"""

from typing import TYPE_CHECKING

import sip.config.cli

if TYPE_CHECKING:
    from omegaconf import DictConfig


def task(config: "DictConfig") -> None:
    """Measure everything and print the card."""
    from sip.device.settings import Runtime, set_threads
    from sip.stack.card import write_card
    from sip.stack.stack import Stack

    set_threads(Runtime.of(config.runtime))
    print(write_card(Stack(config)))


def main() -> None:
    """Measure the stack of the command line's configuration."""
    sip.config.cli.main(task, config_name="stack")


if __name__ == "__main__":
    main()
