"""What is here and what is missing: `python -m sip.doctor profile=paper augmentation=sip`."""

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import sip.config.cli

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from sip.doctor.base import Finding


def task(config: "DictConfig") -> None:
    """Print what is found; fail if something is missing that the configuration needs."""
    from sip.core.errors import UserError
    from sip.doctor.base import MISSING

    missing = []
    for finding in examine(config):
        print(finding.lines(), flush=True)
        if finding.state == MISSING:
            missing.append(finding)
    if missing:
        names = ", ".join(dict.fromkeys(finding.name for finding in missing))
        has_commands = any(finding.command for finding in missing)
        how = "the lines with -> say how to get it" if has_commands else "the lines say what to do"
        raise UserError(
            f"profile={config.profile.name} is not ready, see what is marked MISSING: {names}; "
            f"{how}"
        )
    print(f"profile={config.profile.name}: nothing that this configuration needs is missing")


def examine(config: "DictConfig") -> "Iterator[Finding]":
    """Yield what is found, in a fixed order.

    A check that fails because a package is broken is a finding too.
    """
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")  # before they are imported
    from sip.doctor import accounts, contents, machine, packages

    yield from _guarded("packages", packages.findings)
    if config.all:
        yield from _guarded("extras", packages.extras)
    yield from _guarded("device", lambda: machine.device(config))
    yield from _guarded("memory", machine.memory)
    yield from _guarded("paths", lambda: machine.disks(config))
    yield from _guarded("caches", machine.caches)
    yield from _guarded("weights", lambda: contents.weights(config))
    if config.all:
        yield from _guarded("backbone", lambda: contents.other_backbones(config))
    yield from _guarded("data set", lambda: contents.data(config))
    yield from _guarded("logger", lambda: accounts.logger(config))
    if config.speed:
        yield from _guarded("speed", lambda: _speed(config))


def _speed(config: "DictConfig") -> "Iterator[Finding]":
    from hydra import compose

    from sip.doctor.speed import speed

    yield from speed(config, compose("doctor", ["profile=embedded"]))


def _guarded(name: str, look: "Callable[[], Iterator[Finding]]") -> "Iterator[Finding]":
    from sip.core.errors import UserError
    from sip.core.text import reason_of
    from sip.doctor.base import MISSING, Finding

    try:
        yield from look()
    except UserError as error:
        yield Finding(name, MISSING, str(error))
    except (ImportError, OSError, RuntimeError) as error:  # a package, or a GPU, is broken
        text = reason_of(error)
        package = getattr(error, "name", None)
        command = f"pip install --force-reinstall {package.split('.')[0]}" if package else None
        yield Finding(name, MISSING, f"{type(error).__name__}: {text}", command)


def main() -> None:
    """Run on the command line's configuration."""
    sip.config.cli.main(task, config_name="doctor")


if __name__ == "__main__":
    main()
