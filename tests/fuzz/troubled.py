"""Attempts that go wrong, to see that the engine sees it."""

import os
import signal
import time
from pathlib import Path
from random import Random

from tests.fuzz.engine import Attempt


def prepare() -> Attempt:
    """Return an attempt of which input 1 fails and input 3 kills its process."""

    def attempt(rng: Random, folder: Path) -> str:
        number = len(list(folder.iterdir())) + int(folder.name.removeprefix("from-"))
        (folder / str(number)).touch()
        time.sleep(0.01)
        if number == 1:
            raise KeyError("not expected")
        if number == 3:
            os.kill(os.getpid(), signal.SIGSEGV)
        return "read"

    return attempt


def prepare_endless() -> Attempt:
    """Return an attempt that does not return."""

    def attempt(rng: Random, folder: Path) -> str:
        time.sleep(60)
        return "read"

    return attempt
