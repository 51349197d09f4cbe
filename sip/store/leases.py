"""Who makes which rows, in an object store: claims as objects, which count for a limited time.

`pyarrow.fs` has no conditional write and object stores have no locks, so rows are claimed in two
steps. An owner first asks: it writes an object with the keys and then lists those of others.
Listings are complete (S3, Google and Azure promise that), so that of two who ask for a key, at
least one sees the other. A key that another owner holds is lost, and so is one that an owner with a
lower name asks for; for one with a higher name it waits until that one has decided. Then it writes
the keys that it holds. An owner who asks never waits for a lower name, so nobody waits in a circle.

An owner elsewhere is taken for dead when it had not written for `HEARTBEAT_LIMIT`, by the clock of
the store, as the claims were listed; one on this machine, when its process is gone. One that was
only suspended then makes rows that another one makes too: they are equal, and the first to be
committed counts. What a living process asks for is free as well if it has been silent for as long:
nobody can tell when it will decide.

An owner renews both objects every `BEAT_EVERY`. Those that it cannot delete, since the store does
not answer, are not renewed, and a thread deletes them when it can: they count no longer than that.
"""

import json
import os
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace

from sip.core import objects
from sip.core.errors import UserError
from sip.core.progress import say
from sip.core.uri import Uri
from sip.store.claims import HEARTBEAT_LIMIT, Claim, host_name, is_alive, start_time

BEAT_EVERY = 30.0  # s
POLL_EVERY = 0.2  # s between two looks at who asks for the same rows
CLOCK = "clock"  # an object that is written to learn the time of the store
ASKS, HOLDS = "asks", "holds"


@dataclass(frozen=True)
class Lease:
    """The newest claim of another owner, as it was read.

    Attributes:
        number: How many claims the owner has made, this one included.
        step: `ASKS` or `HOLDS`.
        claim: Host, process and the keys that it holds; None if the object is garbled.
        asked: Keys that it asked for.
        silent_for: For how long the owner had not written when claims were listed, s; 0 of one
            on this machine that holds what it asked for.
    """

    number: int
    step: str
    claim: Claim | None
    asked: list[str]
    silent_for: float = 0.0

    @property
    def asks(self) -> list[str]:
        """Return the keys that it asks for; none if its owner seems suspended."""
        return self.asked if self.silent_for < HEARTBEAT_LIMIT else []


class Leases:
    """The claims below one place, seen by one owner.

    Args:
        folder: The place.
        on_death: Called when another owner has died.

    Attributes:
        owner: Name of this owner; the start of its objects' names, which end with the number and
            the step of the claim.
    """

    HAS_LOCK = False  # between `look` and `take` rows may be made and released

    def __init__(self, folder: Uri, on_death: Callable[[], None] = lambda: None) -> None:
        self.folder = folder
        self._on_death = on_death
        self.owner = f"{host_name()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._number = 0
        self._held: list[str] = []
        self._current: dict[Uri, bytes] = {}  # the objects that say so, or what it asks for
        self._left: set[Uri] = set()  # objects that say what no longer holds, and may be there
        self._lock = threading.Lock()  # of `_current`: one thread claims, another one beats
        self._taking = threading.Lock()  # one thread claims, another one renews what it commits
        self._stop = threading.Event()  # of the thread that beats; set: there is none
        self._stop.set()
        self._clearing: threading.Thread | None = None
        self._seen: dict[str, Lease] = {}
        self._clock: float | None = None  # the store's time minus that of this process

    def locked(self) -> AbstractContextManager[bool]:
        """Keep this owner's threads apart; of other owners, `take` says what they got."""
        return self._taking

    def is_current(self) -> bool:
        """Return true: what `look` read is all there is to know before `take`."""
        return True

    def look(self) -> None:
        """Read the claims of other owners, and delete those of dead ones."""
        gone: set[tuple[str, int, str]] = set()
        while True:
            looked = time.monotonic()  # reading may take minutes, in which owners write
            listed = objects.listing(self.folder)
            newest: dict[str, tuple[int, str]] = {}
            written: dict[str, float] = {}
            for there in listed:
                owner, number, step = _parts(there.name)
                if owner and owner != self.owner:  # "holds" stands behind "asks"
                    newest[owner] = max((number, step), newest.get(owner, (0, "")))
                    written[owner] = max(there.modified, written.get(owner, there.modified))
            seen = {owner: self._read(owner, *entry) for owner, entry in newest.items()}
            self._seen = {
                owner: replace(lease, silent_for=self._silent_for(lease, written[owner], looked))
                for owner, lease in seen.items()
                if lease is not None
            }
            lost = {(owner, *newest[owner]) for owner in newest.keys() - self._seen.keys()}
            if lost <= gone:  # none, or one that a late list still has
                break
            gone |= lost  # it was released, or replaced by another claim of its owner
        dead = {owner for owner, lease in self._seen.items() if not _is_alive(lease)}
        for owner in dead:
            del self._seen[owner]
        if dead:
            self._on_death()
        for there in listed:
            if _parts(there.name)[0] in dead:
                with suppress(UserError):  # whoever may not write need not clean up
                    objects.delete(self.folder / there.name)

    def _read(self, owner: str, number: int, step: str) -> Lease | None:
        known = self._seen.get(owner)
        if known and (known.number, known.step) == (number, step):
            return known
        try:
            values = json.loads(objects.read(self.folder / _name(owner, number, step)))
            asked = values.pop("asked")
            return Lease(number, step, Claim(**values), asked)
        except FileNotFoundError:  # released, or replaced meanwhile
            return None
        except (ValueError, TypeError, KeyError, AttributeError):
            return Lease(number, step, None, [])

    def _silent_for(self, lease: Lease, written: float, looked: float) -> float:
        """Return the age of an owner's last sign of life at a moment of this process's clock, s."""
        if lease.claim is None or (lease.step == HOLDS and lease.claim.host == host_name()):
            return 0.0
        if self._clock is None:  # it need not be this machine's
            objects.write(self.folder / CLOCK, b"")
            self._clock = objects.modified(self.folder / CLOCK) - time.monotonic()
        return self._clock + looked - written

    def claimed(self) -> dict[str, str]:
        """Return key -> owner for all keys that other live owners make, as of the last look."""
        return {
            key: owner
            for owner, lease in self._seen.items()
            if lease.claim
            for key in (*lease.claim.keys, *lease.asks)
        }

    def owners(self) -> set[str]:
        """Return who has a claim, as of the last look."""
        return {*self._seen, self.owner}

    def number_of(self, owner: str) -> int:
        """Return which claim of its own an owner held at the last look; 0 if none was seen."""
        return self._seen[owner].number if owner in self._seen else 0

    def file_of(self, owner: str) -> Uri:
        """Return the object of an owner's claim; once it is gone, others make its rows."""
        lease = self._seen.get(owner)
        return self.folder / _name(owner, lease.number, lease.step) if lease else self.folder

    def is_empty(self) -> bool:
        """Return whether nobody has a claim."""
        return not any(_parts(there.name)[0] for there in objects.listing(self.folder))

    def take(self, keys: list[str]) -> set[str]:
        """Claim `keys` in place of what was claimed before; return those that others got."""
        held = set(self._held)
        asked = [key for key in keys if key not in held]
        old = set(self._current)
        lost: set[str] = set()
        self._number += 1
        try:
            if asked:
                self._write(ASKS, self._held, asked)
                lost = self._decide(set(asked))
            got = [key for key in keys if key not in lost]
            new = {self._write(HOLDS, got, [])} if got else set()
        except BaseException:
            self._keep(old)
            raise
        self._held = got
        self._keep(new)
        return lost

    def _decide(self, asked: set[str]) -> set[str]:
        """Return those of the keys that this owner asks for and that others get."""
        while True:
            self.look()
            lost: set[str] = set()
            undecided: set[str] = set()
            for owner, lease in self._seen.items():
                lost |= asked.intersection(lease.claim.keys if lease.claim else ())
                (lost if owner < self.owner else undecided).update(asked.intersection(lease.asks))
            if not undecided - lost:
                return lost
            time.sleep(POLL_EVERY)

    def _write(self, step: str, keys: list[str], asked: list[str]) -> Uri:
        """Write what this owner holds or asks for, next to what it wrote before."""
        place, content = self.folder / _name(self.owner, self._number, step), _content(keys, asked)
        try:
            objects.write(place, content)
        except BaseException:
            self._left.add(place)  # it may be there all the same
            raise
        with self._lock:
            self._current[place] = content
            if self._stop.is_set():
                self._stop = threading.Event()
                threading.Thread(target=self._beat, args=(self._stop,), daemon=True).start()
        return place

    def _keep(self, places: set[Uri]) -> None:
        """Delete what this owner has written, but for `places`: later if the store fails."""
        with self._lock:  # a beat would write it again
            self._left |= self._current.keys() - places
            self._current = {at: self._current[at] for at in places}
            if not places:
                self._stop.set()
        is_clearing = self._clearing is not None and self._clearing.is_alive()
        try:
            self._clear(attempts=1 if is_clearing else None)
        except (UserError, KeyboardInterrupt) as error:
            if not is_clearing:
                say("store", f"{self.folder}: old claims stay until they can be deleted: {error}")
                self._clearing = threading.Thread(target=self._clear_later, daemon=True)
                self._clearing.start()
            if isinstance(error, KeyboardInterrupt):
                raise

    def release(self) -> None:
        """Give all claims back; do nothing if none is held."""
        self._held = []
        self._keep(set())

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(BEAT_EVERY):
            with self._lock:
                for place, content in self._current.items():
                    with suppress(UserError, OSError):
                        if not stop.is_set():
                            objects.write(place, content, attempts=1)

    def _clear(self, attempts: int | None = None) -> None:
        for place in self._left.copy():
            objects.delete(place, attempts)
            self._left.discard(place)

    def _clear_later(self) -> None:
        while self._left:
            time.sleep(BEAT_EVERY)
            with suppress(UserError):
                self._clear(attempts=1)


def _is_alive(lease: Lease) -> bool:
    return lease.claim is not None and is_alive(lease.claim, lease.silent_for)


def _content(keys: list[str], asked: list[str]) -> bytes:
    pid = os.getpid()
    claim = Claim(host_name(), pid, start_time(pid), keys)
    return json.dumps({**vars(claim), "asked": asked}).encode()


def _name(owner: str, number: int, step: str) -> str:
    return f"{owner}.{number}.{step}"


def _parts(name: str) -> tuple[str, int, str]:
    """Return owner, number and step of an object's name; "" for another object."""
    owner, _, rest = name.rpartition(".")
    owner, _, number = owner.rpartition(".")
    if rest not in (ASKS, HOLDS) or not number.isdecimal():
        return "", 0, ""
    return owner, int(number), rest
