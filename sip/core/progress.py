"""Progress bars with rate and time left, and lines above them, on terminals and in log files."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, TextIO

from tqdm import tqdm

from sip.core.text import one_line

# Of several processes of one job, only the first prints; `devices.launch` sets it.
is_first = True
_silent: ContextVar[bool] = ContextVar("silent", default=False)


@contextmanager
def silent(is_silent: bool = True) -> Iterator[None]:
    """Print no bars and no lines in the block."""
    token = _silent.set(is_silent)
    try:
        yield
    finally:
        _silent.reset(token)


class Progress(tqdm):
    """A tqdm bar whose `update` also takes values to show behind the rate."""

    def update(self, n: float | None = 1, **shown: Any) -> bool | None:
        """Advance by `n` and show `shown` behind the rate."""
        if shown:
            self.set_postfix(shown, refresh=False)
        return super().update(n)

    # A log that cannot be written does not end the work.

    def display(self, msg: str | None = None, pos: int | None = None) -> bool | None:
        """Show the bar."""
        with suppress(OSError):
            return super().display(msg, pos)
        return None

    def close(self) -> None:
        """Show the bar for the last time."""
        with suppress(OSError):
            super().close()


def progress(name: str, total: int, unit: str, delay: float = 0, initial: int = 0) -> Progress:
    """Return a bar for one stage; outside a terminal it prints a line every 10 s at most.

    Args:
        delay: Seconds until it is shown at all.
        initial: Units that are done already; the rate does not count them.
    """
    interval = 0.2 if sys.stderr.isatty() else 10.0
    return Progress(
        total=total,
        desc=f"{name:<12}",
        unit=unit,
        mininterval=interval,
        dynamic_ncols=True,
        delay=delay,
        initial=initial,
        disable=not is_first or _silent.get(),
    )


def say(name: str, text: str) -> None:
    """Print one line about a stage, above the progress bars.

    Names of files and classes may hold codes that a terminal obeys; they are left out. A log that
    cannot be written (a full disk, a lost connection) does not end the work.
    """
    if is_first and not _silent.get():
        with suppress(OSError):
            tqdm.write(f"{name:<12} {one_line(text)}\n", sys.stderr, end="")
            sys.stderr.flush()


def write_lines(text: object, stream: TextIO | None = None) -> None:
    """Write whole lines, on stdout if no stream is given, so that jobs do not mix theirs.

    With PYTHONUNBUFFERED `print` writes a text and the end of its line one after the other, and
    another process may write between them.
    """
    stream = stream or sys.stdout
    if stream is not None:  # it may be closed, as `print` allows too
        stream.write(f"{text}\n")
        stream.flush()
