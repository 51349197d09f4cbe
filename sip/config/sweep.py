"""What the jobs of a sweep share: a file of JSON lines in the sweep's folder.

The first line describes the sweep; every finished or failed job adds a line, in whatever process
it runs. Jobs read the file to print their position, and the process that started the sweep to list
the failed jobs. An environment variable, which launchers pass on, holds its path.
"""

import json
import os
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from sip.core.text import format_duration

VARIABLE = "SIP_SWEEP"  # environment variable: path of the file


@dataclass(frozen=True)
class Sweep:
    """A sweep as its file describes it.

    Attributes:
        keys: Those that take several values, as typed.
        total: Number of jobs; None if the sweeper decides it.
        cached: Numbers of the jobs whose run was finished before.
        started: Unix time.
        finished: Job number -> seconds.
        failed: Job number -> one line: which job; and why it failed, if the job has said it in a
            log of its own, as jobs of SLURM do.
    """

    keys: tuple[str, ...] = ()
    total: int | None = None
    cached: frozenset[int] = frozenset()
    started: float = 0.0
    finished: dict[int, float] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)

    @classmethod
    def read(cls) -> Self | None:
        """Return the sweep that this process belongs to; None if there is none."""
        file = Path(os.environ.get(VARIABLE, ""))
        if not file.is_file():
            return None
        head, *lines = map(json.loads, file.read_text().splitlines())
        lines.sort(key=lambda line: line["job"])
        return cls(
            keys=tuple(head["keys"]),
            total=head["total"],
            cached=frozenset(head["cached"]),
            started=head["started"],
            finished={line["job"]: line["seconds"] for line in lines if "seconds" in line},
            failed={line["job"]: _of_failed(line) for line in lines if "failed" in line},
        )

    def position(self, number: int) -> str:
        """Return "job 3/12" for the job with this number, which counts from 0."""
        return f"job {number + 1}" + (f"/{self.total}" if self.total else "")

    def times(self, now: float | None = None) -> str:
        """Return the elapsed time, and the remaining one if a job was computed in this sweep."""
        elapsed = (now or time.time()) - self.started
        text = f"{format_duration(elapsed)} elapsed"
        done = {*self.finished, *self.failed}
        computed = len(done - self.cached)
        if not self.total or not computed:
            return text
        left = len(set(range(self.total)) - self.cached - done)
        return f"{text}, about {format_duration(elapsed / computed * left)} left"


def begin(folder: Path, keys: Sequence[str], total: int | None, cached: Iterable[int] = ()) -> Path:
    """Start the file of a sweep, and name it to this process and to those that it starts.

    Args:
        folder: Folder of the sweep, on a disk that all jobs share.
        keys, total, cached: As in `Sweep`.
    """
    file = folder.absolute() / f"sweep-{uuid.uuid4().hex[:8]}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    head = {"keys": list(keys), "total": total, "cached": list(cached), "started": time.time()}
    file.write_text(json.dumps(head) + "\n")
    os.environ[VARIABLE] = str(file)
    return file


def end() -> None:
    """Delete the file and what jobs have left; later jobs of this process belong to no sweep."""
    if file := os.environ.pop(VARIABLE, None):
        Path(file).unlink(missing_ok=True)
        for plan in _plans(file):
            plan.unlink()


def add(number: int, **result: Any) -> None:
    """Add the result of a job.

    It is `seconds` if the job is finished; else `failed`, which job in one line, with the `reason`
    and the `stderr` on which that was said. One write per line: jobs that run side by side do not
    mix theirs.
    """
    if file := os.environ.get(VARIABLE):
        with Path(file).open("a") as lines:
            lines.write(json.dumps({"job": number} | result) + "\n")


def stderr() -> list[int] | None:
    """Return what tells this process's stderr from another one; None if it is closed."""
    with suppress(OSError):
        file = os.fstat(2)
        return [file.st_dev, file.st_ino]
    return None


def _of_failed(line: dict[str, Any]) -> str:
    """Return which job failed, and why, if that was not said where this process says it."""
    is_said = line["stderr"] == stderr()
    return line["failed"] if is_said else f"{line['failed']}: {line['reason']}"


def leave(plan: Any) -> None:
    """Leave the plan of this job, a JSON value, for the end of the sweep; alone, do nothing."""
    from hydra.core.hydra_config import HydraConfig

    if file := os.environ.get(VARIABLE):
        number = HydraConfig.get().job.num
        Path(f"{file}.plan{number}").write_text(json.dumps(plan))


def plans() -> list[Any]:
    """Return the plans that jobs have left."""
    return [json.loads(plan.read_text()) for plan in _plans(os.environ.get(VARIABLE, ""))]


def swept() -> dict[str, str]:
    """Return the swept keys of this job and their values, as typed; empty outside of a sweep."""
    from hydra.core.hydra_config import HydraConfig

    sweep = Sweep.read() if HydraConfig.initialized() else None
    if sweep is None:
        return {}
    return swept_values(HydraConfig.get().overrides.task, sweep.keys)


def swept_values(overrides: Iterable[str], keys: Sequence[str]) -> dict[str, str]:
    """Return the swept keys among a job's overrides and their values, as typed."""
    pairs = (text.lstrip("+").partition("=") for text in overrides)
    return {key: value for key, _, value in pairs if key in keys}


def _plans(file: str) -> list[Path]:
    path = Path(file)
    return sorted(path.parent.glob(f"{path.name}.plan*")) if file else []
