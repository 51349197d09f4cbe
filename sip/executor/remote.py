"""What makes the rows of a stage in another process: sent there once, then called with batches."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from sip.store.filling import Add, Make

Rows = list[dict[str, Any]]


class Remote(Protocol):
    """Is pickled; returns, in the other process, what makes the rows of a batch."""

    @property
    def stage(self) -> str:
        """Name of the stage."""

    @property
    def uses_gpu(self) -> bool:
        """Whether the configuration asks for a GPU."""

    def __call__(self) -> Callable[[list[Any]], Rows]:
        """Load the model; what is returned may be called in several threads."""


@dataclass(frozen=True)
class RemoteMake:
    """Makes rows here, as any other `Make`, or by `remote` in another process."""

    make: Make[Any]
    remote: Remote

    def __call__(self, batches: Iterator[list[Any]], add: Add) -> None:
        """Make the rows in this process."""
        self.make(batches, add)
