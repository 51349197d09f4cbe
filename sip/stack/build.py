"""Train a stack of your own: `python -m sip.stack.build dataset=... size=tiny`.

Captioner, scorer, diffusion model and small ViTs are trained on the part `pretrain` of a data set
(else on `train`), into a folder that the profiles read. Finished parts are kept; a build that was
killed, or stopped by its time limit, goes on with the same command. `docs/own-stack.md` says what
to expect.
"""

from typing import TYPE_CHECKING

import sip.config.cli

if TYPE_CHECKING:
    from omegaconf import DictConfig


def task(config: "DictConfig") -> None:
    """Train what is missing, measure it, write the card."""
    from sip.core.progress import say
    from sip.device.settings import Runtime, set_threads
    from sip.stack.card import SHEET, require_card, write_card
    from sip.stack.curves import require_curves
    from sip.stack.folder import training_command
    from sip.stack.stack import NAME, Stack
    from sip.tracking.loggers import require_logger
    from sip.weights.checksums import seal
    from sip.weights.stacks import CARD

    set_threads(Runtime.of(config.runtime))
    require_logger(config.logger)
    require_curves(config.logger)
    stack = Stack(config)
    chosen = stack.to_train()
    is_new = bool(chosen)
    if config.card and chosen == stack.missing():
        require_card(stack)
    missing = stack.make()
    if missing:
        parts = ", ".join([*missing, "card"] if config.card else missing)
        say(NAME, f"time limit reached; missing: {parts}; the same command goes on")
    elif is_new or not (stack.folder / CARD).exists():
        seal(stack.folder)
        if others := ", ".join(stack.missing()):
            say(NAME, f"chosen parts are done; missing: {others}; without parts they are built")
        elif config.card:
            print(write_card(stack))
            say(NAME, f"done; {stack.folder / CARD} says how good it is, {SHEET} shows it")
        else:
            say(NAME, "done without a model card; python -m sip.stack.quality writes it")
    if not missing and not stack.missing() and (command := training_command(config)):
        say(NAME, f"train with it: {command}")


def main() -> None:
    """Run on the command line's configuration."""
    sip.config.cli.main(task, config_name="stack")


if __name__ == "__main__":
    main()
