"""Commands in this process, through the program's own `main` and all of Hydra."""

import importlib
import shlex
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig

from sip.config.build import build
from sip.jobs.lookup import LookUp
from sip.jobs.policy import Racing
from sip.jobs.sweeps import Overview


def program(module: str) -> ModuleType:
    """Import what `python -m module` runs."""
    imported = importlib.import_module(module)
    return (
        importlib.import_module(f"{module}.__main__") if hasattr(imported, "__path__") else imported
    )


def run(module: str, arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command to its end; return its exit code."""
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # the command line sets it
    monkeypatch.setenv("SIP_SWEEP", "")
    with pytest.raises(SystemExit) as stop:
        program(module).main()
    return int(stop.value.code or 0)


def understand(module: str, arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Read a command line as the program does, and build what it configures; do no work.

    Of a sweep, the first and the last job are built.
    """
    seen: list[DictConfig] = []
    sweeps: list[int] = []

    def task(config: DictConfig) -> None:
        seen.append(config)
        for name in config:
            node = config[name]
            if isinstance(node, DictConfig) and "_target_" in node and name != "filter":
                build(node)

    def launch(launcher: Any, job_overrides: Sequence[Sequence[str]], **_: int) -> list[Any]:
        sweeps.append(len(job_overrides))
        loader = launcher.hydra_context.config_loader
        for job in (job_overrides[0], job_overrides[-1]):
            task(loader.load_sweep_config(launcher.config, list(job)))
        return []

    def race(racing: Racing, arguments: list[str]) -> None:
        racing.prepare(arguments)
        launch(racing.own_launcher, [[*racing.common, *one] for one in racing.candidates])

    with monkeypatch.context() as patched:
        patched.setattr(program(module), "task", task)
        patched.setattr("sip.jobs.lookup.look_up", lambda *_: LookUp())
        patched.setattr(Overview, "on_multirun_end", lambda *_, **__: None)
        patched.setattr(Racing, "sweep", race)
        for launcher in Plugins.instance().discover(Launcher):
            patched.setattr(launcher, "launch", launch)
        patched.setattr(Sweeper, "validate_batch_is_legal", lambda *_: None)  # composes every job
        code = run(module, arguments, patched)
    line = shlex.join([module, *arguments])
    assert code == 0 and (seen or "--help" in arguments), line
    is_sweep = any(word in ("-m", "--multirun") or "+sweep=" in word for word in arguments)
    assert bool(sweeps) == is_sweep and 0 not in sweeps, line
