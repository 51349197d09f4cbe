"""Faults: what is broken on purpose, what the user sees of it, what it costs."""

import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FAULTS: list["Fault"] = []


class NotRunError(Exception):
    """The fault cannot be tried here; says why."""


@dataclass(frozen=True)
class Outcome:
    """What happened after a fault that was handled.

    Attributes:
        saw: The line that the user saw.
        lost: What was finished and had to be made again, or what else it cost.
    """

    saw: str
    lost: str


@dataclass(frozen=True)
class Fault:
    """One way to break something.

    Attributes:
        name: For the table.
        quick: Whether it takes a second or two, and so is part of the test suite.
        work: Breaks it in an empty folder; raises `AssertionError` where it is not handled, and
            `NotRunError`.
    """

    name: str
    quick: bool
    work: Callable[[Path], Outcome]


def fault(
    name: str, *, quick: bool = False
) -> Callable[[Callable[[Path], Outcome]], Callable[[Path], Outcome]]:
    """Register a function as a fault."""

    def register(work: Callable[[Path], Outcome]) -> Callable[[Path], Outcome]:
        FAULTS.append(Fault(name, quick, work))
        return work

    return register


@dataclass(frozen=True)
class Ended:
    """How a child process ended.

    Attributes:
        code: Its exit code; negative: the signal that killed it.
        said: What it printed on stdout and stderr.
        value: What its function returned.
    """

    code: int
    said: str
    value: Any = None

    @property
    def error(self) -> str:
        """The last line that begins as an error does, or the last line at all."""
        lines = [line for line in self.said.strip().splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("error: ")]
        return (errors or lines or [""])[-1]

    def line(self, *words: str) -> str:
        """Return the first line that holds all words.

        Raises:
            AssertionError: There is none.
        """
        for line in self.said.replace("\r", "\n").splitlines():
            if all(word in line for word in words):
                return " ".join(line.split())
        raise AssertionError(f"no line with {words} in: {self.said[-1500:]}")


class Child:
    """A fork of this process, which has imported and loaded everything.

    Args:
        work: What it does; `SystemExit` gives its exit code.
        said: File that gets what it prints.
    """

    def __init__(self, work: Callable[[], Any], said: Path) -> None:
        said.parent.mkdir(parents=True, exist_ok=True)
        self.said, self.result = said, said.with_suffix(".pickle")
        self.result.unlink(missing_ok=True)
        said.write_text("")
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                code = self._run(work)
            finally:  # whatever happens, this process must not go on with its parent's work
                os._exit(code)

    def _run(self, work: Callable[[], Any]) -> int:
        os.setsid()
        descriptor = os.open(self.said, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(descriptor, number)
        self._before = sys.stdout, sys.stderr  # kept: to forget them would close the descriptors
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        code = 1
        try:
            value = work()
            self.result.write_bytes(pickle.dumps(value))
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        return code

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self) -> Ended:
        """Return how it ended."""
        _, status = os.waitpid(self.pid, 0)
        there = self.result.exists()
        value = pickle.loads(self.result.read_bytes()) if there else None
        said = self.said.read_text(errors="replace")
        return Ended(os.waitstatus_to_exitcode(status), said, value)


def in_child(work: Callable[[], Any], said: Path) -> Ended:
    """Run a function in a fork to its end."""
    return Child(work, said).wait()


def holds(condition: object, text: str, ended: Ended | None = None) -> None:
    """Raise `AssertionError` with a text, and the end of what was said, unless `condition`."""
    if not condition:
        said = f"; said: ...{ended.said[-1500:]}" if ended else ""
        raise AssertionError(f"{text}{said}")


def one_line(ended: Ended, *words: str, code: int = 1) -> str:
    """Return a failed command's line.

    Raises:
        AssertionError: It did not fail so, or with a traceback, or the line lacks a word.
    """
    holds(ended.code == code, f"expected exit code {code}, got {ended.code}", ended)
    holds("Traceback" not in ended.said, "a traceback", ended)
    line = ended.error
    for word in words:
        holds(word in line, f"expected {word!r} in {line!r}", ended)
    return line
