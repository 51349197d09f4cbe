"""The store from the command line: `python -m sip.store list`."""

import sys
from typing import TYPE_CHECKING

import sip.config.cli

if TYPE_CHECKING:
    from omegaconf import DictConfig

OPTIONS = ("json", "yes")  # true if they are written with dashes


def task(config: "DictConfig") -> None:
    """Carry out a command on a store."""
    from sip.keeping.commands import run

    run(config)


def main() -> None:
    """Run on the command line, whose first word is the `command`."""
    from sip.keeping.names import COMMANDS

    words = [word for word in sys.argv[1:] if "=" not in word and word[:1] != "-"]
    is_help = {"--help", "-h", "--version"} & set(sys.argv)
    if (len(words) != 1 or words[0] not in COMMANDS) and not is_help:
        got = " ".join(words) or "none"
        rule = f"one of {', '.join(COMMANDS)}"
        usage = "say python -m sip.store list"
        print(f"error: command: must be {rule}, got {got}; {usage}", file=sys.stderr)
        sys.exit(2)
    for word in words:
        sys.argv[sys.argv.index(word)] = f"command={word}"
    for name in OPTIONS:
        sys.argv = [f"{name}=true" if word == f"--{name}" else word for word in sys.argv]
    sip.config.cli.main(task, config_name="store")


if __name__ == "__main__":
    main()
