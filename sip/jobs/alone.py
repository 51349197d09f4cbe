"""One process works on a run: an equal one that is started meanwhile waits for it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sip.core.errors import UserError
from sip.core.progress import say
from sip.store.claims import Claims, readable

FOLDER = ".claims"  # below the folder of the runs
POLL_EVERY = 1.0  # s


@contextmanager
def alone(runs: Path, fingerprint: str, wait: bool = True) -> Iterator[bool]:
    """Hold the claim on a run; yield whether another process had it before.

    Args:
        runs: Folder of the runs.
        fingerprint: Fingerprint of the run.
        wait: Until the other process ends; else it is named and refused.

    Raises:
        UserError: Another process works on the run, and `wait` is false.
    """
    (runs / FOLDER).mkdir(parents=True, exist_ok=True)
    claims, waited = Claims(runs / FOLDER), False
    try:
        owner = _take(claims, fingerprint)
    except UserError as error:  # a file system without locks, which training itself does not need
        say("run", f"an equal run that is started meanwhile would not be noticed: {error}")
        owner = None
    while owner:
        if not wait:
            raise UserError(
                f"run {fingerprint}: {readable(owner)} works on it; start again when it has ended"
            )
        if not waited:
            say("run", f"waiting for {readable(owner)}, which works on the same run")
        waited = True
        time.sleep(POLL_EVERY)
        owner = _take(claims, fingerprint)
    try:
        yield waited
    finally:
        claims.release()


def _take(claims: Claims, fingerprint: str) -> str | None:
    """Claim the run; return who has it if another process does."""
    with claims.locked():
        owner = claims.claimed().get(fingerprint)
        if owner is None:
            claims.take([fingerprint])
    return owner
