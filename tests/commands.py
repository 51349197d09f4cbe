"""The project's commands as a user starts them, without the ten seconds that imports take.

Each is a process of its own, forked from a server that has imported everything. What is about
imports, start-up or processes that start processes is tested with `subprocess` itself.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.preloaded"])
ROOT = Path(__file__).parents[1]


class Job:
    """`python -m <name> <arguments>`, started.

    Args:
        folder: Gets what it says, as two files.
        variables: Of its environment, in addition.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        folder: Path,
        cwd: Path = ROOT,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.arguments = [name, *arguments]
        self.files = [folder / "stdout.txt", folder / "stderr.txt"]
        names = [str(file) for file in self.files]
        given = (name, list(arguments), str(cwd), names, dict(variables or {}))
        self.process = CONTEXT.Process(target=_run, args=given)
        self.process.start()

    def poll(self) -> int | None:
        """Return its exit code; None while it runs."""
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """Wait for its end; return what it said on stdout and stderr."""
        self.process.join(timeout)
        assert self.process.exitcode is not None, f"{self.arguments}: no end within {timeout} s"
        out, err = (file.read_text() for file in self.files)
        return out, err

    @property
    def returncode(self) -> int | None:
        """Its exit code."""
        return self.process.exitcode


def run_module(
    name: str, arguments: Sequence[str], folder: Path, cwd: Path = ROOT, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run `python -m <name> <arguments>` to its end; what it says also goes into `folder`."""
    job = Job(name, arguments, folder, cwd)
    said = job.communicate(timeout)
    assert job.returncode is not None
    return subprocess.CompletedProcess(job.arguments, job.returncode, *said)


def _run(
    name: str, arguments: list[str], cwd: str, files: list[str], variables: dict[str, str]
) -> None:
    os.environ |= variables
    for number, file in enumerate(files, start=1):
        os.dup2(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w") for number in (1, 2))
    os.chdir(cwd)
    sys.path.insert(0, str(ROOT))
    sys.argv = [name, *arguments]
    sys.orig_argv = [sys.executable, "-m", name, *arguments]
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
