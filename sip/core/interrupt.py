"""Ctrl-C and SIGTERM: the first asks for an end in good order, the second ends at once."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from tqdm import tqdm

from sip.core import progress

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Told of the first signal too: other processes of the same job.
forward: list[Callable[[int], None]] = []

ECHO = 2.0  # s

_requested: int | None = None
_requested_at = 0.0
_active = False


class Stopped(KeyboardInterrupt):  # noqa: N818  (not an error)
    """The work was asked to stop, and has stopped with everything finished in the store.

    Attributes:
        signum: The signal that asked for it.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


def stop_requested() -> bool:
    """Return whether the work should end after the batch at hand."""
    return _requested is not None


@contextmanager
def graceful() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM inside into a request; raise `Stopped` at the end of it.

    Outside of the main thread it only passes through.

    Raises:
        Stopped: A stop was asked for, whether or not the work was finished by then.
    """
    global _active, _requested
    if _active:
        yield
        raise_if_stopped()
        return
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _on_signal) for number in SIGNALS}
    _active, _requested = True, None
    try:
        yield
        raise_if_stopped()
    finally:
        _active, _requested = False, None
        for number, handler in before.items():
            signal.signal(number, handler)


def reclaim() -> None:
    """Take the signals back from a library that has put its own handlers in their place."""
    if _active:
        for number in SIGNALS:
            signal.signal(number, _on_signal)


def raise_if_stopped() -> None:
    """Raise `Stopped` where a stop was requested."""
    if _requested is not None:
        raise Stopped(_requested)


def _on_signal(number: int, frame: FrameType | None) -> None:
    global _requested, _requested_at
    if _requested is not None:
        # Ctrl-C reaches the processes of a job twice: from the terminal, and from the first one.
        if not progress.is_first and time.monotonic() - _requested_at < ECHO:
            return
        raise Stopped(number)
    _requested, _requested_at = number, time.monotonic()
    for tell in forward:
        tell(number)
    if progress.is_first:
        tqdm.write("stopping after the batch at hand; once more to stop at once", sys.stderr)
