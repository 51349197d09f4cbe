"""Trying many damaged inputs, each with a limit of time, all with one of memory.

A child process makes the inputs from their numbers and tries them; it says which one it is at. The
parent sees a child that dies or does not answer, notes the input's number, and starts another one
behind it. Input `n` of a seed is always the same, so that a finding can be looked at again.
"""

import multiprocessing
import os
import resource
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

MEMORY = 3 * 2**30  # bytes a child may take beyond what it starts with
PATIENCE = 60.0  # s for one input; the largest picture that is allowed takes 2 s of a free core
START = 60.0  # s until a child is ready
MAX_STARTS = 1000  # of children

# Makes input n from a random generator and tries it in a folder; returns what kind of answer came,
# "read" or the refusal's type, and raises whatever must not happen.
Attempt = Callable[[Random, Path], str]


@dataclass
class Report:
    """What came of it.

    Attributes:
        tried: Inputs.
        answers: Kind of answer -> number of inputs.
        findings: Number of the input -> what happened.
        peak: Memory of the largest child, bytes.
        seconds: It took.
    """

    tried: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    findings: dict[int, str] = field(default_factory=dict)
    peak: int = 0
    seconds: float = 0.0

    def lines(self) -> list[str]:
        """Return it for people."""
        answers = ", ".join(f"{num:,} {kind}" for kind, num in self.answers.most_common())
        found = [f"input {number}: {what}" for number, what in self.findings.items()]
        first = (
            f"{self.tried:,} inputs in {self.seconds:.0f} s, {self.peak / 2**20:,.0f} MiB at most"
        )
        return [first, answers, *(found or ["no crash, no hang, no other error"])]


def fuzz(
    prepare: Callable[[], Attempt], seconds: float, seed: int, folder: Path, first: int = 0
) -> Report:
    """Try inputs for some time.

    Args:
        prepare: Called in each child: imports what is tried, and returns the attempt.
        seconds: How long.
        seed: Of all inputs.
        folder: For files; each child gets a fresh one in it.
        first: Number of the first input.
    """
    report, number, starts = Report(), first, 0
    context = multiprocessing.get_context("spawn")
    while report.seconds < seconds and (starts := starts + 1) <= MAX_STARTS:
        ours, theirs = context.Pipe()
        place = folder / f"from-{number}"
        place.mkdir(parents=True)
        child = context.Process(
            target=_work, args=(prepare, seed, number, place, theirs), daemon=True
        )
        child.start()
        theirs.close()
        number = _watch(child, ours, report, seconds, number)
        child.join()
    return report


def _watch(child: Any, ours: Connection, report: Report, seconds: float, number: int) -> int:
    """Follow a child until time is up or it fails; return the number of the next input.

    Time runs from when the child is ready: to start it may take longer than all inputs.
    """
    patience, last = START, 0.0
    while True:
        try:
            if not ours.poll(patience):
                report.findings[number] = f"no answer within {patience:g} s"
                report.seconds += patience
                child.kill()
                return number + 1
            kind, peak = ours.recv()
        except EOFError:
            child.join()
            report.findings[number] = f"the process died with exit code {child.exitcode}"
            return number + 1
        now, patience = time.monotonic(), PATIENCE
        report.peak = max(report.peak, peak)
        if kind is not None:  # None: it is ready
            report.seconds += now - last
            report.tried += 1
            report.answers[kind.partition("\n")[0]] += 1
            if "\n" in kind:
                report.findings[number] = kind.replace("\n", ": ", 1)
            number += 1
        last = now
        if report.seconds >= seconds:
            child.kill()
            return number


def _work(
    prepare: Callable[[], Attempt], seed: int, number: int, folder: Path, theirs: Connection
) -> None:
    attempt = prepare()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders in C talk a lot
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    theirs.send((None, 0))
    while True:
        try:
            kind = attempt(Random(f"{seed}-{number}"), folder)
        except Exception as error:  # whatever an attempt does not expect is a finding
            kind = f"{type(error).__name__}\n{' '.join(str(error).split())[:300]}"
        theirs.send((kind, _peak()))
        number += 1


def _peak() -> int:
    """Return the most memory that this process had, bytes; `getrusage` counts its parent's too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
