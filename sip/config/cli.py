"""The entry points' common part: command line -> configuration -> task, one line per error.

Nothing heavy is imported here, and tasks import what they need when they run: `--help` and a
mistyped key answer at once. Exit codes: 0 done, 2 a key or value of the command line is wrong
(the message begins with it), 1 the task failed otherwise, 130 and 143 stopped by SIGINT (Ctrl-C)
and SIGTERM.
"""

import functools
import importlib
import os
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.hydra import Hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, MissingMandatoryValue

from sip.config import guard, plugins, provenance, sweep
from sip.config.command import Command, one_line
from sip.config.interpreter import check_interpreter, own_module
from sip.config.output import Output, is_read
from sip.config.provenance import is_multirun, program_versions
from sip.core import progress
from sip.core.errors import UntrustedError, UserError, ValueRefusedError
from sip.core.files import disk_error
from sip.core.interrupt import stoppable
from sip.core.paths import conf_folder
from sip.core.text import CONTROL, counted

Task = Callable[[DictConfig], Any]

USER_ERRORS = (UserError, InterpolationKeyError, MissingMandatoryValue)


class ReportedError(Exception):
    """A job of a multirun failed and has printed why; the other jobs go on."""


def main(task: Task, config_name: str = "config", conf: Path | None = None) -> NoReturn:
    """Run `task` on the command line's configuration, or on each of a multirun, and exit.

    Args:
        task: A function of an importable module, so that launchers can run it in other processes.
        config_name: The primary configuration, a file of `conf` without its suffix.
        conf: The folder of the configurations; SIP's own if None.
    """
    if "--version" in sys.argv:
        print(program_versions())
        sys.exit(0)
    try:
        check_interpreter()
        plugins.register()
    except UserError as error:
        _say(f"error: {error}")
        sys.exit(1)
    if sys.stdout is not None:
        sys.stdout = Output(sys.stdout)
    folder = conf or conf_folder()
    command = Command(folder, config_name, sys.argv[1:])
    sys.argv[1:] = sorted(sys.argv[1:], key=_is_override)  # Hydra wants its options first
    debug = os.environ.get("HYDRA_FULL_ERROR") == "1" or "debug=true" in command.overrides
    os.environ.pop(sweep.VARIABLE, None)  # of a sweep whose job started this process
    os.environ[provenance.OPTIONS] = shlex.join(command.options)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises, in place of printing and exiting
    job = Job(task, command.flags)
    run = hydra.main(version_base="1.3", config_path=str(folder), config_name=config_name)(job)
    try:
        if {"--help", "-h"} & set(sys.argv) and (text := command.help(job.name)):
            _print_help(text)
            sys.exit(0)
        command.check()
        sys.argv[1:] = map(command.for_hydra, sys.argv[1:])
        with (
            stoppable(),
            _without_overrides(),
            _one_composition() if command.is_plain else nullcontext(),
        ):
            run()
    except ReportedError:
        _say_failed(sweep.Sweep.read())
        sys.exit(1)
    except KeyboardInterrupt as stop:
        if not progress.is_first:  # else Lightning kills the process that says it, in mid-batch
            sys.exit(0)
        _say(f"stopped: {_kept(sweep.Sweep.read())}; the same command goes on from there")
        sys.exit(128 + getattr(stop, "signum", signal.SIGINT))
    except Exception as error:  # a task's errors do not come here: Hydra's, a launcher's
        if debug:
            traceback.print_exc()
        _say(f"error: {command.explain(error)}")
        sys.exit(2)
    finally:
        sweep.end()
        os.environ.pop(provenance.OPTIONS, None)
    is_read()
    if failed := getattr(sys.stdout, "error", None):
        _say(f"error: stdout cannot be written ({failed.strerror}); the work itself is done")
        sys.exit(1)
    sys.exit(0)


@contextmanager
def _one_composition() -> Iterator[None]:
    """Keep Hydra from composing twice: once more before the run, only to find its mode."""
    get_mode = Hydra.get_mode
    Hydra.get_mode = lambda *_, **__: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.get_mode = get_mode  # type: ignore[method-assign]


@contextmanager
def _without_overrides() -> Iterator[None]:
    """Keep Hydra from printing the overrides of a job that failed and has said why."""
    hydras: Any = JobReturn.return_value

    def value(job: Any) -> Any:
        if isinstance(job._return_value, ReportedError):
            raise job._return_value
        return hydras.fget(job)

    JobReturn.return_value = property(value, hydras.fset)  # type: ignore[assignment]
    try:
        yield
    finally:
        JobReturn.return_value = hydras  # type: ignore[method-assign]


def _say_failed(jobs: sweep.Sweep | None) -> None:
    """Name the failed jobs of a sweep."""
    failed = jobs.failed if jobs else {}
    num = counted(len(failed), "job")
    _say(f"{num} failed; the same command runs what failed, and only that:")
    _say("\n".join(f"  {line}" for line in failed.values()))


def _kept(jobs: sweep.Sweep | None) -> str:
    """Return what an interrupted command keeps."""
    if jobs is None:
        return "what was finished is kept"
    of = f" of {jobs.total}" if jobs.total else ""
    return f"{len(jobs.finished)}{of} jobs are finished and kept"


def _is_override(argument: str) -> bool:
    return "=" in argument and argument[0] != "-"


def _print_help(text: str) -> None:
    with suppress(BrokenPipeError):
        print(text.rstrip())
    is_read()


class Job:
    """A task as Hydra calls it: a mistake of the user ends it with one line.

    Args:
        task: As `main` takes it.
        flags: Keys that must be true or false: Hydra reads `plan=no` as a text, which counts as
            true.
    """

    def __init__(self, task: Task, flags: Sequence[str]) -> None:
        # `python -m sip.train` calls its module __main__; other processes know it by its name.
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        if task.__module__ == "__main__" and spec is not None:
            task = getattr(importlib.import_module(spec.name), task.__name__)
        self.task = task
        self.flags = flags
        self.name = task.__module__.removesuffix(".__main__").rpartition(".")[2]
        functools.update_wrapper(self, task)

    def __call__(self, config: DictConfig) -> Any:
        """Run the task.

        Raises:
            SystemExit: It failed, with code 1; or with 2 if a value of the configuration is wrong.
            ReportedError: It failed as one of several jobs.
        """
        if is_multirun():
            return self._one_of_several(config, HydraConfig.get().job.num)
        if launcher := _unused_launcher():
            _say(
                f"error: hydra/launcher={launcher}: must come with -m, without which the job would "
                "run in this process; write -m, or leave hydra/launcher out"
            )
            raise SystemExit(2)
        try:
            return self._run(config)
        except Exception as error:
            if isinstance(error, BrokenPipeError) and not is_read():
                return None
            _say(f"error: {_reason(error, config)}")
            raise SystemExit(2 if _is_of_the_command(error, config) else 1) from None

    def _one_of_several(self, config: DictConfig, number: int) -> Any:
        """Run the task as a job of a sweep, and add its result to the sweep's file."""
        jobs = sweep.Sweep.read()
        if jobs is None:
            sweep.begin(Path(HydraConfig.get().sweep.dir), [], None)
            jobs = sweep.Sweep(started=time.time())
        where = " ".join([f"{jobs.position(number)}:", *map("=".join, sweep.swept().items())])
        progress.say("sweep", f"{where} ({jobs.times()})")
        started = time.time()
        try:
            result = self._run(config)
        except Exception as error:
            reason = _reason(error, config)
            _say(f"error in {where}: {reason}")
            sweep.add(number, failed=where, reason=reason, stderr=sweep.stderr())
            raise ReportedError from None
        sweep.add(number, seconds=time.time() - started)
        return result

    def _run(self, config: DictConfig) -> Any:
        guard.check_targets(OmegaConf.to_container(config, resolve=False))
        for key in self.flags:
            if not isinstance(value := OmegaConf.select(config, key), bool):
                raise UserError(f"{key}: must be true or false, got {value}; write {key}=true")
        return self.task(config)


def _is_of_the_command(error: Exception, config: DictConfig) -> bool:
    """Return whether a value that the command line states, or lacks, ended the task."""
    if not isinstance(error, UserError) or isinstance(error, UntrustedError | ValueRefusedError):
        return isinstance(error, USER_ERRORS)
    if (key := error.refused_key) is None:
        return False
    value = OmegaConf.to_container(config, resolve=False)
    for name in key.split("."):
        if not isinstance(value, dict) or name not in value:
            return False
        value = value[name]
    return not (isinstance(value, dict) and "_target_" in value)  # of a component: its data


def _unused_launcher() -> str | None:
    """Return the launcher that the command line chooses and a single job does not use, if any."""
    if not HydraConfig.initialized():
        return None
    chosen = HydraConfig.get().runtime.choices.get("hydra/launcher")
    return None if chosen in (None, "basic") else chosen


def _reason(error: Exception, config: DictConfig) -> str:
    """Return an error in one line; print the traceback of one that is no mistake of the user's."""
    cannot = None if isinstance(error, UserError) else disk_error(error)
    if isinstance(error, ImportError | AttributeError) and (file := own_module()):
        cannot = f"{file}: must not have the name of a library, which is not read then; rename it"
    if not (cannot or isinstance(error, USER_ERRORS)) or config.get("debug"):
        traceback.print_exception(error)
    return cannot or (str(error) if isinstance(error, UserError) else one_line(error))


def _say(text: str) -> None:
    progress.write_lines(CONTROL.sub("", text), sys.stderr)
