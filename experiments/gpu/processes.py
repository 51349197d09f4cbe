"""A step as a process group of its own, with a time limit.

Steps are forked from a process that has imported the libraries, which saves ten seconds each. When
CUDA cannot be used in a forked process, they are spawned.
"""

import importlib
import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from experiments.gpu.job import Job, StepError

POLL = 0.1  # s
LINES = 25  # of a traceback, at most
KILLED, FAILED, OK = "killed", "failed", "ok"


def run(
    target: str, job: Job, log: Path, start: str, on_change: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Run "module:function" on a job to its end or to its deadline.

    Args:
        log: File that what it prints is added to.
        start: "fork" or "spawn".
        on_change: Called with the results whenever there are new ones.

    Returns:
        status ("ok", "failed" or "killed"), seconds, error (None or text) and results.
    """
    began, seen = time.monotonic(), ""
    context = multiprocessing.get_context(start)
    process = context.Process(target=_child, args=(target, job, log))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork next to libraries' threads
        process.start()
    is_late = False
    try:
        while process.is_alive():
            process.join(POLL)
            if (text := _read(job.file)) != seen:
                seen = text
                on_change(json.loads(text).get("results", {}))
            if process.is_alive() and job.left() <= 0:
                is_late = True
                break
    finally:
        _kill(process)  # at the limit, at Ctrl-C, and what an ended step left running
        process.join()
    written = json.loads(_read(job.file) or "{}")
    error, status = written.get("error"), OK
    if is_late:
        status, error = KILLED, "killed at its limit; results until then are kept"
    elif error is not None:
        status = FAILED
    elif process.exitcode != 0:
        status, error = FAILED, f"its process ended with exit code {process.exitcode}; see day.log"
    return {
        "status": status,
        "seconds": round(time.monotonic() - began, 1),
        "error": error,
        "results": written.get("results", {}),
    }


def _read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def _kill(process: multiprocessing.process.BaseProcess) -> None:
    """Kill a process, and what is left of its group."""
    assert process.pid is not None
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()  # it has not become the leader of a group yet


def _child(target: str, job: Job, log: Path) -> None:
    os.setsid()
    # A spawned process would spawn its data loaders' workers too, and each would import again.
    multiprocessing.set_start_method("fork", force=True)
    with log.open("a") as stream:
        for number in (1, 2):
            os.dup2(stream.fileno(), number)
    try:
        module, _, function = target.partition(":")
        getattr(importlib.import_module(module), function)(job)
    except StepError as error:
        job.error = str(error)
    except BaseException as error:
        traceback.print_exc()
        job.error = f"{type(error).__name__}: {error}"
        job.results["traceback"] = traceback.format_exc().strip().splitlines()[-LINES:]
    job.record()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads and workers of libraries do not hold up the next step
