"""Model weights by hand: `python -m sip.weights convert MODEL`."""

import sys
from typing import TYPE_CHECKING

import sip.config.cli

if TYPE_CHECKING:
    from omegaconf import DictConfig

COMMAND = "convert"


def task(config: "DictConfig") -> None:
    """Make sure that a model is on this disk as safetensors, and print where."""
    from sip.core.errors import UserError
    from sip.weights.layout import CHECKER
    from sip.weights.source import require, weights_folder

    if config.model is None:
        raise UserError(f"model: must be given; say python -m sip.weights {COMMAND} MODEL")
    wanted = (str(config.model), config.revision, config.variant, CHECKER)
    require(*wanted)
    print(f"{config.model}: safetensors in {weights_folder(*wanted)}")


def main() -> None:
    """Run on the command line, whose `convert MODEL` is `model=MODEL`."""
    words = [word for word in sys.argv[1:] if "=" not in word and word[:1] != "-"]
    if words and (words[0] != COMMAND or len(words) > 2):
        got, usage = " ".join(words), f"python -m sip.weights {COMMAND} MODEL"
        print(f"error: command: must be {COMMAND} MODEL, got {got}; say {usage}", file=sys.stderr)
        sys.exit(2)
    if words:
        sys.argv.remove(COMMAND)
        if len(words) > 1:
            sys.argv[sys.argv.index(words[1])] = f"model={words[1]}"
    sip.config.cli.main(task, config_name="weights")


if __name__ == "__main__":
    main()
