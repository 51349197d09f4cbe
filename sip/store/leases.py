"""Who makes which rows, in an object store: claims as objects, which count for a limited time.

`pyarrow.fs` has no conditional write and object stores have no locks, so rows are claimed in two
steps. An owner first asks: it writes an object with the keys and then lists those of others.
Listings are complete (S3, Google and Azure promise that), so that of two who ask for a key, at
least one sees the other. A key that another owner holds is lost, and so is one that an owner with a
lower name asks for; for one with a higher name it waits until that one has decided. Then it writes
the keys that it holds. An owner who asks never waits for a lower name, so nobody waits in a circle.

An owner is taken for dead when it has not written for `HEARTBEAT_LIMIT` by the clock of the store,
or at once if its process on this machine is gone. One that was only suspended then makes rows that
another one makes too: they are equal, and the first to be committed counts.
"""

import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass

from sip.core import objects
from sip.core.errors import UserError
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
        asked: Keys that it asks for.
        modified: When it was written, by the clock of the store, s.
    """

    number: int
    step: str
    claim: Claim | None
    asked: list[str]
    modified: float


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
        self._object: tuple[Uri, bytes] | None = None  # what says that this owner holds them
        self._lock = threading.Lock()  # of `_object`: one thread claims, another one beats
        self._taking = threading.Lock()  # one thread claims, another one renews what it commits
        self._stop = threading.Event()
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
            listed = objects.listing(self.folder)
            newest: dict[str, tuple[int, str, float]] = {}
            for there in listed:
                owner, number, step = _parts(there.name)
                if owner and owner != self.owner:
                    entry = (number, step, there.modified)  # "holds" stands behind "asks"
                    newest[owner] = max(entry, newest.get(owner, entry))
            seen = {owner: self._read(owner, *entry) for owner, entry in newest.items()}
            self._seen = {owner: lease for owner, lease in seen.items() if lease is not None}
            lost = {(owner, *newest[owner][:2]) for owner in newest.keys() - self._seen.keys()}
            if lost <= gone:  # none, or one that a late list still has
                break
            gone |= lost  # it was released, or replaced by another claim of its owner
        dead = {owner for owner, lease in self._seen.items() if not self._is_alive(lease)}
        for owner in dead:
            del self._seen[owner]
        if dead:
            self._on_death()
        for there in listed:
            if _parts(there.name)[0] in dead:
                with suppress(UserError):  # whoever may not write need not clean up
                    objects.delete(self.folder / there.name)

    def _read(self, owner: str, number: int, step: str, modified: float) -> Lease | None:
        known = self._seen.get(owner)
        if known and (known.number, known.step) == (number, step):
            return Lease(number, step, known.claim, known.asked, modified)
        try:
            values = json.loads(objects.read(self.folder / _name(owner, number, step)))
            asked = values.pop("asked")
            return Lease(number, step, Claim(**values), asked, modified)
        except FileNotFoundError:  # released, or replaced meanwhile
            return None
        except (ValueError, TypeError, KeyError, AttributeError):
            return Lease(number, step, None, [], modified)

    def _is_alive(self, lease: Lease) -> bool:
        if lease.claim is None:
            return False
        is_here = lease.claim.host == host_name()
        silent_for = 0.0 if is_here and lease.step == HOLDS else self._now() - lease.modified
        if lease.step == ASKS and silent_for >= HEARTBEAT_LIMIT:  # it takes a moment, not minutes
            return False
        return is_alive(lease.claim, silent_for)

    def _now(self) -> float:
        """Return now as the store sees it, s; its clock need not be this machine's."""
        if self._clock is None:
            objects.write(self.folder / CLOCK, b"")
            self._clock = objects.modified(self.folder / CLOCK) - time.monotonic()
        return self._clock + time.monotonic()

    def claimed(self) -> dict[str, str]:
        """Return key -> owner for all keys that other live owners make, as of the last look."""
        return {
            key: owner
            for owner, lease in self._seen.items()
            if lease.claim
            for key in (*lease.claim.keys, *lease.asked)
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
        lost: set[str] = set()
        self._number += 1
        if asked:
            question = self.folder / _name(self.owner, self._number, ASKS)
            objects.write(question, self._content(self._held, asked))
            try:
                lost = self._decide(set(asked))
                self._hold([key for key in keys if key not in lost])
            finally:
                objects.delete(question)
        else:
            self._hold(keys)
        return lost

    def _decide(self, asked: set[str]) -> set[str]:
        """Return those of the keys that this owner asks for and that others get."""
        while True:
            self.look()
            lost: set[str] = set()
            undecided: set[str] = set()
            for owner, lease in self._seen.items():
                lost |= asked.intersection(lease.claim.keys if lease.claim else ())
                if lease.step == ASKS:
                    (lost if owner < self.owner else undecided).update(
                        asked.intersection(lease.asked)
                    )
            if not undecided - lost:
                return lost
            time.sleep(POLL_EVERY)

    def _hold(self, keys: list[str]) -> None:
        """Write what this owner holds, in place of what it held."""
        with self._lock:
            old, self._object = self._object, None
            if keys:
                place = self.folder / _name(self.owner, self._number, HOLDS)
                self._object = place, self._content(keys, [])
                objects.write(*self._object)
            if old:
                objects.delete(old[0])
        if keys and not self._held:
            self._stop = threading.Event()
            threading.Thread(target=self._beat, args=(self._stop,), daemon=True).start()
        elif self._held and not keys:
            self._stop.set()
        self._held = keys

    def release(self) -> None:
        """Give all claims back; do nothing if none is held."""
        self._stop.set()
        with suppress(UserError):  # a store that does not answer: the claim dies with us
            self._hold([])

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(BEAT_EVERY):
            with self._lock, suppress(UserError, OSError):
                if self._object and not stop.is_set():
                    objects.write(*self._object, attempts=1)

    def _content(self, keys: Iterable[str], asked: list[str]) -> bytes:
        pid = os.getpid()
        claim = Claim(host_name(), pid, start_time(pid), list(keys))
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
