"""Ctrl-C and SIGTERM: the first asks for an end in good order, the second ends at once."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from tqdm import tqdm

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Told of the first signal too: other processes of the same job.
forward: list[Callable[[int], None]] = []

_requested: int | None = None
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

    Outside of the main thread, and inside another `graceful`, it only passes through.

    Raises:
        Stopped: A stop was asked for, whether or not the work was finished by then.
    """
    global _active, _requested
    if _active or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _on_signal) for number in SIGNALS}
    _active, _requested = True, None
    try:
        yield
        if _requested is not None:
            raise Stopped(_requested)
    finally:
        _active, _requested = False, None
        for number, handler in before.items():
            signal.signal(number, handler)


def _on_signal(number: int, frame: FrameType | None) -> None:
    global _requested
    if _requested is not None:
        raise Stopped(number)
    _requested = number
    for tell in forward:
        tell(number)
    tqdm.write("stopping after the batch at hand; once more to stop at once", sys.stderr)
