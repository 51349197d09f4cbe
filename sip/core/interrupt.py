"""Ctrl-C and SIGTERM: the first finishes the current batch, the second stops at once."""

import os
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
# Called with the first signal: they pass it on to other processes of the same job.
forward: list[Callable[[int], None]] = []

ECHO = 2.0  # s

_requested: int | None = None
_requested_at = 0.0
_active = False


class Stopped(KeyboardInterrupt):  # noqa: N818  (not an error)
    """The job was asked to stop and has stopped; all finished rows are in the store.

    Attributes:
        signum: Number of the signal.
    """

    def __init__(self, signum: int) -> None:
        name = signal.Signals(signum).name
        super().__init__(f"stopped by {name}: what was finished is kept; the same call goes on")
        self.signum = signum


def stop_requested() -> bool:
    """Return whether the job should stop after the current batch."""
    return _requested is not None


@contextmanager
def graceful() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM in the block into a request; raise `Stopped` at its end.

    Outside of the main thread, do nothing.

    Raises:
        Stopped: A stop was requested, whether or not the block was finished by then.
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


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM end the block at once, as Ctrl-C does; in `graceful` it waits for the batch.

    Raises:
        Stopped: The process got SIGTERM.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    process = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:  # a fork, which others end so
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise Stopped(number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def reclaim() -> None:
    """Install the handlers again after a library has replaced them."""
    if _active:
        for number in SIGNALS:
            signal.signal(number, _on_signal)


def raise_if_stopped() -> None:
    """Raise `Stopped` if a stop was requested."""
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
        tqdm.write("finishing the current batch; press Ctrl-C again to stop now", sys.stderr)
