"""Failed jobs of a sweep, noted where they run and named together at its end."""

import json
import os
import uuid
from pathlib import Path

SWEEP = (
    "SIP_SWEEP"  # environment variable, inherited by jobs: tells one sweep's notes from another's
)


def begin() -> None:
    """Give the sweep of this process, and of those that it starts, a name of its own."""
    os.environ[SWEEP] = uuid.uuid4().hex[:8]


def note(folder: Path, number: int, line: str) -> Path:
    """Add a failed job to the sweep's notes; return their file.

    Args:
        folder: Of the sweep, which all its jobs see.
        number: Of the job.
        line: What it was and why it failed.
    """
    file = folder.absolute() / f"failed-{os.environ.get(SWEEP, 'sweep')}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as notes:  # one write a line: jobs side by side do not mix theirs
        notes.write(json.dumps([number, line]) + "\n")
    return file


def read(notes: Path) -> list[str]:
    """Return the lines of the failed jobs in their order, and remove the notes."""
    failed = sorted(json.loads(line) for line in notes.read_text().splitlines())
    notes.unlink()
    return [line for _, line in failed]
