"""The driver of Ray's actors: sends batches, takes rows, starts actors and replaces lost ones."""

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from sip.core import progress
from sip.core.errors import UserError
from sip.core.interrupt import stop_requested
from sip.core.progress import say
from sip.core.threads import Behind
from sip.executor.cluster import connected
from sip.executor.pool import ActorPool
from sip.executor.remote import Remote, Rows
from sip.store.filling import Filling

IN_FLIGHT = 2  # batches of an actor: one is read or encoded while the device works on the other
BEHIND = 4  # batches whose rows wait to be stored
RETRIES = 10  # times that a batch is sent again, or that an actor is started again
POLL_EVERY = 1.0  # s
IDLE_AFTER = 60.0  # s without a batch, after which an actor beyond `min_size` ends
SAY_AFTER = 30.0  # s without an actor, after which a line says what is waited for


class Actor:
    """An actor.

    Args:
        remote: Makes rows.
        folder: Working directory of the driver, in case that paths are relative.
    """

    def __init__(self, remote: Remote, folder: str) -> None:
        with suppress(OSError):
            os.chdir(folder)
        progress.is_first = False
        self._remote = remote
        self._make: Callable[[list[Any]], Rows] | None = None
        self._lock = threading.Lock()

    def ready(self) -> int:
        """Return its process id, once it has started."""
        return os.getpid()

    def make(self, inputs: list[Any]) -> Rows:
        """Return the rows of a batch; the first one loads the model."""
        with self._lock:
            self._make = self._make or self._remote()
        return self._make(inputs)


class Line:
    """One stage at work: batches that wait, actors, and the store.

    Args:
        filling: What is missing.
        pool: Settings of the actors.
        remote: What the actors do.
        on_rows: Is called with the keys of each batch and its rows.

    Attributes:
        waiting: Keys of the batches to send.
        is_closed: Whether no more will come.
    """

    def __init__(
        self,
        filling: Filling[Any],
        pool: ActorPool,
        remote: Remote,
        on_rows: Callable[[Rows], None] = lambda rows: None,
    ) -> None:
        self.waiting: deque[list[str]] = deque()
        self.is_closed = False
        self._ray: Any = None  # connected with the first actor
        self._filling = filling
        self._pool = pool
        self._options = pool.resources(remote.uses_gpu)
        self._remote = remote
        self._on_rows = on_rows
        self._name = filling.stage.name
        self._starting: dict[Any, Any] = {}  # what `ready` returns -> actor
        self._at_work: dict[Any, tuple[Any, list[str]]] = {}  # what `make` returns -> actor, batch
        self._actors: dict[Any, int] = {}  # that are ready -> batches in flight
        self._since: dict[Any, float] = {}  # when an actor got its last batch
        self._attempts: Counter[str] = Counter()  # by the first key of a batch, or "" of a start
        self._behind = Behind(self._store, BEHIND)
        self._waits_since = time.monotonic()

    def __enter__(self) -> "Line":
        self._behind.__enter__()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        for actor in [*self._starting.values(), *self._actors]:
            self._end(actor)
        try:
            self._behind.__exit__(kind, error, trace)
        finally:
            self._filling.commit()

    @property
    def refs(self) -> list[Any]:
        """What Ray is to wait for."""
        return [*self._starting, *self._at_work]

    @property
    def is_at_work(self) -> bool:
        """Whether batches are in flight."""
        return bool(self._at_work)

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to do."""
        return self.is_closed and not self.waiting and not self._at_work

    def feed(self) -> None:
        """Start and end actors, and send them batches."""
        self._resize()
        for actor, num in self._actors.items():
            while self.waiting and num < IN_FLIGHT:
                keys = self.waiting.popleft()
                inputs = [self._filling.wanted[key] for key in keys]
                self._at_work[actor.make.remote(inputs)] = actor, keys
                num += 1
            if num > self._actors[actor]:
                self._actors[actor], self._since[actor] = num, time.monotonic()

    def _resize(self) -> None:
        batches = len(self.waiting) + len(self._at_work)
        wanted = min(self._pool.max_size, max(self._pool.min_size, -(-batches // IN_FLIGHT)))
        if not batches:
            wanted = 0 if self.is_closed else len(self._actors) and self._pool.min_size
        for _ in range(wanted - len(self._actors) - len(self._starting)):
            self._start()
        now = time.monotonic()
        for actor, num in list(self._actors.items()):
            is_idle = self.is_closed or now - self._since[actor] >= IDLE_AFTER
            if len(self._actors) > wanted and not num and not self.waiting and is_idle:
                self._end(actor)
        if self._actors or not batches:
            self._waits_since = now
        elif now - self._waits_since >= SAY_AFTER:
            self._waits_since = float("inf")
            needs = ", ".join(f"{value:g} {key[4:]}" for key, value in self._options.items())
            has = self._ray.available_resources()
            free = f"{has.get('CPU', 0):g} cpus, {has.get('GPU', 0):g} gpus"
            say(self._name, f"waiting for an actor, which needs {needs}; free are {free}")

    def _start(self) -> None:
        self._ray = self._ray or connected()
        kind = self._ray.remote(Actor).options(
            max_concurrency=IN_FLIGHT, max_restarts=0, **self._options
        )
        actor = kind.remote(self._remote, os.getcwd())
        self._starting[actor.ready.remote()] = actor

    def _end(self, actor: Any) -> None:
        self._actors.pop(actor, None)
        self._since.pop(actor, None)
        with suppress(Exception):  # it is gone, or Ray is
            self._ray.kill(actor)

    def take(self, ref: Any) -> bool:
        """Take what is ready: an actor, or the rows of a batch; return whether it is ours."""
        if ref in self._starting:
            actor = self._starting.pop(ref)
            if self._result(ref, "") is not None:
                self._actors[actor], self._since[actor] = 0, time.monotonic()
            return True
        if ref not in self._at_work:
            return False
        actor, keys = self._at_work.pop(ref)
        if actor in self._actors:
            self._actors[actor] -= 1
        rows = self._result(ref, keys[0])
        if rows is None:  # its other batch comes back by itself
            self._end(actor)
            self.waiting.appendleft(keys)
            return True
        self._filling.open.claim([keys])
        self._behind.put(rows)
        self._on_rows(rows)
        return True

    def _result(self, ref: Any, key: str) -> Any:
        """Return a result; None if the actor, its node or the result is lost.

        Raises:
            Exception: What the actor's work raised.
            UserError: It was lost too often.
        """
        errors = self._ray.exceptions
        try:
            return self._ray.get(ref)
        except errors.RayTaskError as error:
            raise (error.cause or error) from None
        except errors.RayError as error:
            self._attempts[key] += 1
            if self._attempts[key] > RETRIES:
                what = "the same batch" if key else "its start"
                reason = str(error).split("\n")[0]
                raise UserError(
                    f"executor=ray: actors of {self._name} must live, got the loss of "
                    f"{self._attempts[key]} at {what}, the last by: {reason}; look at Ray's logs, "
                    "or make smaller batches"
                ) from error
            return None

    def _store(self, rows: Rows) -> None:
        for row in rows:
            self._filling.add(row)


def drive(lines: Sequence[Line], advance: Callable[[], None] = lambda: None) -> None:
    """Work until all lines are done, or a stop is requested and no batch is in flight.

    Args:
        lines: The stages.
        advance: Is called when there are new rows; may send more batches.

    Raises:
        Exception: What an actor's work, or the store, raised; the rows before are committed.
    """
    with ExitStack() as stack:
        for line in lines:
            stack.enter_context(line)
        while not all(line.is_done for line in lines):
            if not stop_requested():
                for line in lines:
                    line.feed()
            elif not any(line.is_at_work for line in lines):
                return
            refs = [ref for line in lines for ref in line.refs]
            if not refs:
                time.sleep(0.01)
                continue
            ready, _ = connected().wait(refs, num_returns=1, timeout=POLL_EVERY)
            for ref in ready:
                any(line.take(ref) for line in lines)
            if ready:
                advance()
