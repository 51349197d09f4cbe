"""Turn every "not run" of this project into a figure: one command, a quarter of an hour of a GPU.

    python -m experiments.gpu.day output=DIR minutes=9 data=FOLDER

Five steps in order of value, each in a process of its own with a time limit. README.md states what
they measure, what to expect, and how to prepare.
"""

import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from experiments.gpu import packages, prepare, processes
from experiments.gpu.job import Job
from experiments.gpu.results import LOG, Day, check_files, tidy
from experiments.gpu.settings import (
    ROOT,
    TINY_LEAST,
    TINY_LIMIT,
    Settings,
    SettingsError,
    Step,
    parse,
)

RESERVE = 5.0  # s at the end, for the table
PROBE = "experiments.gpu.machine:run"
PROBE_LIMIT = 60.0  # s


def main() -> int:
    """Run the day; return 0 if every step did, 1 if one did not, 2 if the day cannot begin."""
    begin = time.monotonic()
    try:
        settings = parse(sys.argv[1:])
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if settings.prepare:
        return prepare.run(settings)
    lines, missing = packages.report(packages.check(packages.required()))
    print("\n".join(lines), flush=True)
    if missing:
        print(f"error: {len(missing)} packages are missing: {', '.join(missing)}; bring them:")
        print("\n".join([*packages.commands(missing), packages.install_command()]))
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the step that runs ends too
    settings.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gpu-day-") as folder:
        return run(settings, begin, Path(folder), lines)


def run(settings: Settings, begin: float, scratch: Path, versions: list[str]) -> int:
    """Run the chosen steps; return the exit code."""
    end = begin + settings.minutes * 60 - RESERVE
    command = f"python -m experiments.gpu.day {' '.join(sys.argv[1:])}".strip()
    day = Day(
        settings.output,
        {"command": command, "tiny": settings.tiny, "machine": {}, "packages": versions},
    )
    (settings.output / LOG).unlink(missing_ok=True)
    start = _machine(settings, scratch, day)
    if start is None:
        return 2
    steps = settings.chosen()
    for number, step in enumerate(steps):
        reason, limit = plan(step, steps[number + 1 :], settings, end - time.monotonic())
        if reason:
            day.skip(step.name, step.title, reason)
            print(f"{step.name}: skipped: {reason}", flush=True)
            continue
        run_step(day, step, settings, limit, scratch, start)
    return _finish(day, begin)


def plan(
    step: Step, later: tuple[Step, ...], settings: Settings, left: float
) -> tuple[str | None, float]:
    """Return why a step is skipped, or None, and the seconds that it gets."""
    least = TINY_LEAST if settings.tiny else step.least
    if step.needs_data and not settings.tiny:
        if settings.data is None:
            return "data: must be the folder of train.parquet, got nothing; add data=FOLDER", 0.0
        if not (settings.data / "train.parquet").exists():
            return f"data: must hold train.parquet, got {settings.data}", 0.0
    if left < least:
        return f"{max(left, 0):.0f} s are left, and it needs {least:.0f} s", 0.0
    if settings.tiny:
        return None, min(TINY_LIMIT, left)
    wanted = step.limit
    if step.is_elastic:
        wanted = max(wanted, left - sum(other.limit for other in later))
    return None, min(wanted, left)


def run_step(
    day: Day, step: Step, settings: Settings, limit: float, scratch: Path, start: str
) -> None:
    """Run one step and keep what it gave."""
    print(f"{step.name}: at most {limit:.0f} s", flush=True)
    entry = day.begin(step.name, step.title, limit)

    def changed(results: dict[str, Any]) -> None:
        for name, value in results.items():
            if entry["results"].get(name) != value and name != "loss":
                shown = value[-1] if name == "val" else value  # of a growing list, what is new
                print(f"  {name}: {shown}", flush=True)
        entry["results"] = results
        day.write()

    job = Job(settings, time.monotonic() + limit, scratch, scratch / f"{step.name}.json")
    entry.update(processes.run(step.target, job, day.folder / LOG, start, changed))
    day.write()
    ended = f"{step.name}: {entry['status']}, {entry['seconds']} s"
    print(f"{ended}: {entry['error']}" if entry["error"] else ended, flush=True)


def _machine(settings: Settings, scratch: Path, day: Day) -> str | None:
    """Return how processes are started; None if the device cannot be used."""
    error = ""
    for start in ("fork", "spawn"):  # a library may have touched CUDA before the fork
        job = Job(settings, time.monotonic() + PROBE_LIMIT, scratch, scratch / f"{start}.json")
        done = processes.run(PROBE, job, day.folder / LOG, start, lambda results: None)
        if done["status"] == processes.OK:
            day.facts["machine"] = {**done["results"], "processes": start}
            for name, value in day.facts["machine"].items():
                print(f"{name}: {value}", flush=True)
            return start
        error = done["error"] or error
    print(f"error: device: {settings.device} cannot be used: {error}", file=sys.stderr)
    return None


def _finish(day: Day, begin: float) -> int:
    tidy(day.folder)
    day.facts["seconds"] = round(time.monotonic() - begin, 1)
    day.write()
    line, holds = check_files(day.folder)
    day.facts["files"] = line
    day.write()
    end = f"{day.folder}, {day.facts['seconds']} s: {line}"
    print("\n".join(["", *day.table(), "", end]), flush=True)
    is_whole = all(step["status"] == processes.OK for step in day.steps)
    return 0 if holds and is_whole else 1


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    code = main()
    sys.stdout.flush()
    sys.exit(code)
