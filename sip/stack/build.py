"""A stack of your own: `python -m sip.stack.build dataset=... size=tiny`.

Makes captioner, scorer, diffusion model and small ViTs from the part `pretrain` of a data set (else
from `train`), in a folder that the profiles read. What is there is found; a killed or late build
goes on with the same command. `docs/own-stack.md` says what to expect.
"""

from typing import TYPE_CHECKING

import sip.config.cli

if TYPE_CHECKING:
    from omegaconf import DictConfig


def task(config: "DictConfig") -> None:
    """Make what is missing, judge it, write the card."""
    from sip.core.progress import say
    from sip.device.settings import Runtime, set_threads
    from sip.stack.card import CARD, SHEET, write_card
    from sip.stack.stack import NAME, Stack, training_command
    from sip.tracking.loggers import require_logger
    from sip.weights.checksums import seal

    set_threads(Runtime.of(config.runtime))
    require_logger(config.logger)
    stack = Stack(config)
    is_new = bool(stack.missing())
    missing = stack.make()
    if missing:
        say(NAME, f"time is over; missing: {', '.join(missing)}, card; the same command goes on")
    elif is_new or not (stack.folder / CARD).exists():
        seal(stack.folder)
        print(write_card(stack))
        say(NAME, f"done; {stack.folder / CARD} says how good it is, {SHEET} next to it shows it")
    if not missing and (command := training_command(config)):
        say(NAME, f"train with it: {command}")


def main() -> None:
    """Build what the command line's configuration asks for."""
    sip.config.cli.main(task, config_name="stack")


if __name__ == "__main__":
    main()
