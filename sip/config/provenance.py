"""The command line, the chosen presets and the versions of the current job."""

import os
import platform
import re
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import version
from itertools import takewhile
from pathlib import Path
from typing import Any, Self

from omegaconf import DictConfig, OmegaConf, open_dict

from sip import __version__
from sip.config import guard
from sip.core.machine import this_machine

# The configuration, with the node `hydra`, of a job that `sip.api` runs in a program of somebody's
# own; None on a command line, whose job Hydra knows.
own_job: ContextVar[DictConfig | None] = ContextVar("own_job", default=None)
# Environment variable, which launchers pass on: what of this command line says where configurations
# are, as typed.
OPTIONS = "SIP_OPTIONS"
VARIABLE = re.compile(r"\w+=")  # of the environment, in front of a command
OPTION, SEARCHED = "--config-", "hydra.searchpath="
LIBRARIES = ("torch", "diffusers", "transformers", "timm", "pytorch-lightning")


def program_versions() -> str:
    """Return the line that `--version` prints; nothing heavy is imported for it."""
    return f"sip {__version__}, Hydra {version('hydra-core')}, torch {version('torch')}"


def choice(group: str) -> str:
    """Return the name of the choice for a configuration group, "custom" outside of Hydra."""
    return str(command_line()["choices"].get(group, "custom")).split("/")[-1]


@dataclass(frozen=True)
class Recorded:
    """A command line in parts, as it is recorded and printed.

    Attributes:
        variables: What the shell sets for it: the packages of one's own, `SIP_TRUSTED=my_package`.
        options: What says where configurations are, such as `--config-dir my_conf`.
        overrides: `key=value`, as typed.
    """

    variables: Sequence[str] = ()
    options: Sequence[str] = ()
    overrides: Sequence[str] = ()

    @classmethod
    def of(cls, text: str | None) -> Self:
        """Return the parts of a command that `line` gave; none of None."""
        words = shlex.split(text or "")
        end = end_of_program(words)
        variables, rest = words[: end - 3], words[end:]
        num = 0
        while rest[num : num + 1] and rest[num].startswith((OPTION, SEARCHED)):
            num += 2 if rest[num].startswith(OPTION) else 1
        return cls(variables, rest[:num], rest[num:])

    def line(self, module: str, overrides: Iterable[str]) -> str:
        """Return the command line of a module that sees the same configurations and classes.

        Args:
            module: Name of the module below `sip`.
            overrides: What it sets, and further options such as "-m".
        """
        line = shlex.join(["python", "-m", f"sip.{module}", *self.options, *overrides])
        return " ".join([*self.variables, line])


def end_of_program(words: Sequence[str]) -> int:
    """Return where the arguments of `python -m MODULE` begin; variables may stand before it."""
    return len(list(takewhile(VARIABLE.match, words))) + 3


def recorded() -> Recorded:
    """Return the parts of the command line of this job; all empty outside of Hydra."""
    names = ",".join(prefix.removesuffix(".") for prefix in guard.own_prefixes())
    variables = [f"{guard.VARIABLE}={names}"] if names else []
    if (job := _hydra()) is None:
        return Recorded(variables)
    own = own_job.get() is not None  # its overrides say where configurations are
    options = [] if own else shlex.split(os.environ.get(OPTIONS, ""))
    return Recorded(variables, options, list(job.overrides.task))


def command(job_name: str | None = None) -> str | None:
    """Return the command line that runs this job by itself; None outside of Hydra.

    Args:
        job_name: Name of the module below `sip`; None for the one that Hydra knows.
    """
    if (job := _hydra()) is None:
        return None
    parts = recorded()
    return parts.line(job_name or job.job.name, parts.overrides)


def command_line() -> dict[str, Any]:
    """Return the "overrides" of the command line, and the "choices" of every group."""
    if (job := _hydra()) is None:
        return {"overrides": [], "choices": {}}
    choices = {str(k): v for k, v in job.runtime.choices.items() if not str(k).startswith("hydra")}
    return {"overrides": list(job.overrides.task), "choices": choices}


def is_multirun() -> bool:
    """Return whether this job is one of a sweep."""
    from hydra.types import RunMode

    job = _hydra()
    return job is not None and job.mode == RunMode.MULTIRUN


@contextmanager
def job_with(overrides: Sequence[str]) -> Iterator[DictConfig]:
    """Compose this job's configuration from other overrides, and be that job in the meantime."""
    from hydra import compose
    from hydra.core.hydra_config import HydraConfig

    before = HydraConfig.instance().cfg
    own = HydraConfig.get()
    config = compose(own.job.config_name, list(overrides), return_hydra_config=True)
    with open_dict(config):
        config.hydra.job.name, config.hydra.mode = own.job.name, own.mode
    HydraConfig.instance().set_config(config)
    try:
        yield OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    finally:
        HydraConfig.instance().cfg = before


def environment() -> dict[str, Any]:
    """Return the command, the versions, the platform, the machine and the commit of this job."""
    return {
        "command": command(),
        "versions": {name: version(name) for name in LIBRARIES},
        "platform": platform.platform(),
        "machine": this_machine(),
        "commit": _commit(),
    }


def _hydra() -> Any:
    """Return the node `hydra` of the current job; None outside of one."""
    from hydra.core.hydra_config import HydraConfig

    if (own := own_job.get()) is not None:
        return own.hydra
    return HydraConfig.get() if HydraConfig.initialized() else None


def _commit() -> str | None:
    """Return the commit of the code; None if it does not run from a checkout."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
