"""The command line, the chosen presets and the versions of the current job."""

import platform
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from sip import __version__
from sip.core.machine import this_machine

# The configuration, with the node `hydra`, of a job that `sip.api` runs in a program of somebody's
# own; None on a command line, whose job Hydra knows.
own_job: ContextVar[DictConfig | None] = ContextVar("own_job", default=None)
LIBRARIES = ("torch", "diffusers", "transformers", "timm", "pytorch-lightning")


def program_versions() -> str:
    """Return the line that `--version` prints; nothing heavy is imported for it."""
    return f"sip {__version__}, Hydra {version('hydra-core')}, torch {version('torch')}"


def choice(group: str) -> str:
    """Return the name of the choice for a configuration group, "custom" outside of Hydra."""
    return str(command_line()["choices"].get(group, "custom")).split("/")[-1]


def command(job_name: str | None = None) -> str | None:
    """Return the command line that runs this job by itself; None outside of Hydra.

    Args:
        job_name: Name of the module below `sip`; None for the one that Hydra knows.
    """
    if (job := _hydra()) is None:
        return None
    return shlex.join(["python", "-m", f"sip.{job_name or job.job.name}", *job.overrides.task])


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
