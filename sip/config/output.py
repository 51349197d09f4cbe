"""What a command prints on stdout, where a full disk or a lost terminal does not end the work."""

import os
import select
import sys
from typing import Any, TextIO

from sip.core.text import CONTROL


class Output:
    """Takes the place of a stream; keeps its first error in place of raising it.

    Attributes:
        error: Why something could not be written; None if all was.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text, without the codes that a terminal obeys: names of files may hold them.

        Raises:
            BrokenPipeError: Nobody reads any more.
        """
        try:
            return self._stream.write(CONTROL.sub("", text))
        except OSError as error:
            self._keep(error)
            return len(text)

    def flush(self) -> None:
        """Write what is buffered.

        Raises:
            BrokenPipeError: As `write`.
        """
        try:
            self._stream.flush()
        except OSError as error:
            self._keep(error)

    def _keep(self, error: OSError) -> None:
        if isinstance(error, BrokenPipeError):
            raise error
        self.error = self.error or error
        _discard(self._stream.fileno())


def is_read() -> bool:
    """Flush stdout; return whether somebody reads it: `... | head` may have read enough."""
    try:
        number = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # closed, or not a file
        return True
    poll = select.poll()
    poll.register(number, select.POLLERR)
    if poll.poll(0):  # Python would flush at exit, and fail
        _discard(number)
        return False
    sys.stdout.flush()
    return True


def _discard(number: int) -> None:
    """Let what is still written to a descriptor vanish."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)
