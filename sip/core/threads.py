"""Background threads with bounded queues: read ahead of the device and write behind it."""

import math
import os
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

from sip.core.cgroups import cpu_quotas
from sip.core.interrupt import stop_requested

Item = TypeVar("Item")
Result = TypeVar("Result")
POLL_EVERY = 0.1  # s between two looks at whether the other side is still there


def num_cores() -> int:
    """Return how many cores this process may use; a container may grant less than it shows."""
    known = getattr(os, "sched_getaffinity", None)  # Linux
    cores = len(known(0)) if known else os.cpu_count() or 1
    return min([cores, *map(math.ceil, cpu_quotas())])


@contextmanager
def prefetch(
    items: Iterator[Item], read: Callable[[Item], Result], num_threads: int, ahead: int
) -> Iterator[Iterator[tuple[Item, Result]]]:
    """Read items in background threads; the results come in order, with their items.

    The items themselves are pulled in a thread too, at most `ahead` + `num_threads` before they
    are handed out. After a stop was requested, nothing more is handed out.

    Raises:
        Exception: What `items` or `read` raises, at the position of its result.
    """
    ready: queue.Queue[tuple[Item, Future[Result]] | BaseException | None] = queue.Queue(ahead)
    closed = threading.Event()

    def put(entry: tuple[Item, Future[Result]] | BaseException | None) -> None:
        while not closed.is_set():
            try:
                return ready.put(entry, timeout=POLL_EVERY)
            except queue.Full:
                continue

    def pump() -> None:
        try:
            for item in items:
                put((item, pool.submit(read, item)))
                if closed.is_set():
                    return
            put(None)
        except BaseException as error:  # noqa: B036  (handed to the thread that waits for it)
            put(error)

    def results() -> Iterator[tuple[Item, Result]]:
        while not stop_requested():
            try:
                entry = ready.get(timeout=POLL_EVERY)
            except queue.Empty:
                continue
            if entry is None:
                return
            if isinstance(entry, BaseException):
                raise entry
            item, future = entry
            yield item, future.result()

    with ThreadPoolExecutor(num_threads, "read") as pool:
        thread = threading.Thread(target=pump, name="prefetch", daemon=True)
        thread.start()
        try:
            yield results()
        finally:
            closed.set()
            thread.join()


class Behind(Generic[Item]):
    """Works on items in one other thread, in order, at most `capacity` behind.

    As a context manager, it waits for the last item, unless the block ends with an error.

    Args:
        work: Called with each item.
        capacity: Items that may wait; `put` blocks beyond.
    """

    def __init__(self, work: Callable[[Item], None], capacity: int) -> None:
        self._work = work
        self._queue: queue.Queue[Item | None] = queue.Queue(capacity)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="behind", daemon=True)

    def __enter__(self) -> "Behind[Item]":
        self._thread.start()
        return self

    def put(self, item: Item) -> None:
        """Queue an item.

        Raises:
            Exception: What the work on an earlier item raised.
        """
        self._queue.put(item)
        self._raise()

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        # After an error the items that wait are worked on too: they are finished work.
        self._queue.put(None)
        self._thread.join()
        if error is None:
            self._raise()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self._work(item)
                except BaseException as error:  # noqa: B036  (raised by the next `put`)
                    self._error = error

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
