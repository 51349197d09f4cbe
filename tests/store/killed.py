"""A process that dies before one of its steps, and the claims that it leaves."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from sip.core import objects
from sip.core.uri import Uri
from sip.store.stage import StageStore

FOLDER_STEPS = [(os, name) for name in ("rename", "replace", "link", "unlink")]
FOLDER_STEPS += [(shutil, "rmtree")]
BUCKET_STEPS = [(objects, name) for name in ("write", "delete", "delete_below")]
STEPS = FOLDER_STEPS + BUCKET_STEPS  # what changes a store
# The thread that renews a claim may be the one that takes the step.
DEAD_THREADS = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


class Killed(BaseException):
    """Stands for the end of a process, after which nothing of it is done."""


@contextmanager
def killed_at(number: int) -> Iterator[Callable[[], bool]]:
    """Have the process die before its step `number`; yield what tells whether it did."""
    count = 0

    def before(step: Callable) -> Callable:
        def wrapped(*args: object, **kwargs: object) -> object:
            nonlocal count
            count += 1
            if count >= number:
                raise Killed
            return step(*args, **kwargs)

        return wrapped

    with pytest.MonkeyPatch.context() as patched, suppress(Killed):
        for module, name in STEPS:
            patched.setattr(module, name, before(getattr(module, name)))
        for claims in ("claims.Claims", "leases.Leases"):  # a dead process releases none
            patched.setattr(f"sip.store.{claims}.release", lambda claims: claims._stop.set())
        yield lambda: count >= number


def forget_claims(stage: StageStore) -> None:
    """Remove the claims of a process that was killed."""
    folder = stage.place.root / "claims"
    if isinstance(folder, Uri):
        for there in objects.listing(folder):
            objects.delete(folder / there.name)
    else:
        shutil.rmtree(folder, ignore_errors=True)
