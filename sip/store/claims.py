"""Who makes which rows: claims that keep two processes from making the same row.

Every owner (one call of `fill`) has one file in the folder of claims, with the keys that it is
making. Files are written under one lock of the file system (`fcntl.flock`), which is held for
milliseconds and which the system itself drops when its holder dies. A claim counts as long as its
owner lives: on the same machine the process is looked up, with its start time, since process ids
come back; elsewhere the claim's file must have been touched lately.

The time under the lock does not grow with the number of owners: claims are read before it is taken.
The lock file holds a token that every change of the claims replaces, so that one look at it tells
whether they are still the ones that were read. A claim's file never changes (the next claim of an
owner has another name), so that each is read once.
"""

import fcntl
import json
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from sip.core.files import plain_disk_errors, retried, write_atomically

HEARTBEAT_EVERY = 10.0  # s
HEARTBEAT_LIMIT = 120.0  # s; without a sign of life for that long, an owner elsewhere is dead
LOCK_FILE = "lock"


@dataclass(frozen=True)
class Claim:
    """What one owner makes.

    Attributes:
        host: As of `host_name`.
        pid: Process id of the owner.
        started: As of `start_time`.
        keys: Keys of the rows.
    """

    host: str
    pid: int
    started: str | None
    keys: list[str]


@dataclass(frozen=True)
class Seen:
    """A claim of another owner, as it was read.

    Attributes:
        number: How many claims the owner has made, this one included.
        claim: None if its file is garbled; its rows may be computed twice.
    """

    number: int
    claim: Claim | None

    @property
    def keys(self) -> list[str]:
        """Return the keys of the rows."""
        return self.claim.keys if self.claim else []


class Claims:
    """The claims in one folder, seen by one owner.

    Attributes:
        owner: Name of this owner: host, process id, and a token; also the start of its file's name,
            which ends with the number of the claim.
    """

    HAS_LOCK = True  # what `claimed` returns holds until `take`

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.owner = f"{host_name()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._stop = threading.Event()
        self._number = 0  # of the last claim
        self._held: list[str] = []
        self._seen: dict[str, Seen] = {}  # owner -> its newest claim
        self._claimed: dict[str, str] = {}  # key -> owner, of all in `_seen`
        self._dead: set[str] = set()  # owners in `_seen` who seem dead
        self._token = b""  # that of the lock file when `look` began; empty: not looked

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock.

        Raises:
            UserError: The file system has no locks, or does not answer.
        """
        with plain_disk_errors(self.folder):
            lock = retried(self._lock)
        with lock:
            yield  # closing the file drops the lock, as the holder's death does

    def _lock(self) -> IO[str]:
        lock = open(self.folder / LOCK_FILE, "a")  # noqa: SIM115
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except BaseException:
            lock.close()
            raise
        return lock

    def look(self) -> None:
        """Read the claims of others, so that `claimed` need only read what changes until then."""
        self._token = self._read_token()  # first, so that no later change is missed
        self._read_all()

    def is_current(self) -> bool:
        """Return whether no claim was taken or released since `look`. The lock must be held."""
        return self._token != b"" and self._token == self._read_token()

    def claimed(self) -> dict[str, str]:
        """Return key -> owner for all keys that other live owners make; forget the dead.

        Must be called with the lock held; `look` spares the time that it takes under the lock.
        """
        if not self.is_current():
            self._read_all()
            for unfinished in self.folder.glob(".*"):  # its writer died with the lock in hand
                unfinished.unlink()
        self._token = b""  # a look is good for once: deaths do not change the token
        if dead := {owner for owner in self._dead if not self._is_alive(owner)}:
            for owner, number in self._files():
                if owner in dead:
                    self._path(owner, number).unlink(missing_ok=True)
            for owner in dead:
                self._forget(owner)
            self._replace_token()
        self._dead.clear()
        return self._claimed

    def _files(self) -> Iterator[tuple[str, int]]:
        """Yield owner and number of each file with a claim of another owner."""
        for name in os.listdir(self.folder):
            owner, _, number = name.removesuffix(".json").rpartition(".")
            if name.endswith(".json") and number.isdecimal() and owner != self.owner:
                yield owner, int(number)

    def _read_all(self) -> None:
        """Read the claims that are new, forget those that are gone, and see who seems dead."""
        newest: dict[str, int] = {}  # between two steps of `take`, an owner has two files
        for owner, number in self._files():
            newest[owner] = max(number, newest.get(owner, 0))
        for owner in [o for o, seen in self._seen.items() if newest.get(o) != seen.number]:
            self._forget(owner)
        for owner in newest.keys() - self._seen.keys():
            self._read(owner, newest[owner])
        if sum(len(seen.keys) for seen in self._seen.values()) != len(self._claimed):
            # Two owners have a key, since one was taken for dead; or had it, and one is forgotten.
            self._claimed.clear()
            for owner, seen in self._seen.items():
                self._claimed.update(dict.fromkeys(seen.keys, owner))
        now = self._file_system_time()
        self._dead = {owner for owner in self._seen if not self._is_alive(owner, now)}

    def _read(self, owner: str, number: int) -> None:
        try:
            claim = Claim(**json.loads(_content(self._name(owner, number))))
        except FileNotFoundError:  # released meanwhile
            return
        except (OSError, ValueError, TypeError):
            claim = None
        self._seen[owner] = seen = Seen(number, claim)
        self._claimed.update(dict.fromkeys(seen.keys, owner))

    def _forget(self, owner: str) -> None:
        for key in self._seen.pop(owner).keys:
            self._claimed.pop(key, None)

    def _is_alive(self, owner: str, now: float | None = None) -> bool:
        """Tell whether the owner of a claim lives, at a time of the file system's clock."""
        seen = self._seen[owner]
        if seen.claim is None:
            return False
        if now is None:
            now = self._file_system_time()
        try:
            beat = os.stat(self._name(owner, seen.number)).st_mtime
        except FileNotFoundError:
            return False
        return is_alive(seen.claim, now - beat)

    def _name(self, owner: str, number: int) -> str:
        return f"{self.folder}/{owner}.{number}.json"  # several times as quick as a `Path`

    def _path(self, owner: str, number: int) -> Path:
        return Path(self._name(owner, number))

    def number_of(self, owner: str) -> int:
        """Return which claim of its own an owner held at the last look; 0 if none was seen."""
        return self._seen[owner].number if owner in self._seen else 0

    def file_of(self, owner: str) -> Path:
        """Return the file of an owner's claim; once it is gone, others make its rows."""
        return self._path(owner, self.number_of(owner))

    def owners(self) -> set[str]:
        """Return who has a claim, as of the last look, or of `claimed`."""
        return {*self._seen.keys() - self._dead, self.owner}

    def is_empty(self) -> bool:
        """Return whether nobody has a claim."""
        return not any(self.folder.glob("*.json"))

    def take(self, keys: list[str]) -> set[str]:
        """Claim `keys` in place of what was claimed before. Must be called with the lock held.

        Returns:
            What others got in the meantime: under the lock, nothing.
        """
        pid, old = os.getpid(), self._path(self.owner, self._number)
        claim = Claim(host_name(), pid, start_time(pid), keys)
        text = json.dumps(vars(claim))  # `asdict` copies each key
        write_atomically(self._path(self.owner, self._number + 1), text, sync=False)
        self._number += 1
        if self._held:
            old.unlink(missing_ok=True)
        else:
            self._stop = threading.Event()
            threading.Thread(target=self._beat, args=(self._stop,), daemon=True).start()
        self._held = keys
        self._replace_token()
        return set()

    def release(self) -> None:
        """Give all claims back; do nothing if none is held."""
        if self._held:
            self._stop.set()
            with suppress(OSError), self.locked():  # a disk that is gone: the claim dies with us
                self._path(self.owner, self._number).unlink(missing_ok=True)
                self._replace_token()
            self._held = []

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(HEARTBEAT_EVERY):
            try:
                os.utime(self._path(self.owner, self._number))
            except OSError:  # released or taken over meanwhile, or the disk is out of reach
                continue

    def _read_token(self) -> bytes:
        try:
            return (self.folder / LOCK_FILE).read_bytes()
        except FileNotFoundError:  # nobody has had the lock
            return b""

    def _replace_token(self) -> None:
        """Tell others that the claims are not the ones that they have read."""
        (self.folder / LOCK_FILE).write_bytes(uuid.uuid4().hex.encode())

    def _file_system_time(self) -> float:
        """Return now as the file system sees it; its clock need not be this machine's."""
        (self.folder / LOCK_FILE).touch()
        return (self.folder / LOCK_FILE).stat().st_mtime


def readable(owner: str) -> str:
    """Return an owner's name for people."""
    host, pid, _ = owner.rsplit("-", 2)
    return f"process {pid} on {host.rpartition('.')[0]}"


def is_alive(claim: Claim, silent_for: float) -> bool:
    """Tell whether a claim's owner lives; `silent_for` is the age of its last heartbeat in s."""
    if claim.host == host_name():
        started = start_time(claim.pid)
        return started is not None and started == claim.started
    return silent_for < HEARTBEAT_LIMIT


def host_name() -> str:
    """Return a name for the space in which process ids count.

    It is that of this machine since its last start, or of the container. The host's name
    is not enough: machines may share it, and the first space of every machine has the same number.
    """
    return f"{socket.gethostname().replace('/', '_')}.{_space()}"


@cache
def _space() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        return f"{boot}{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return "0"


def start_time(pid: int) -> str | None:
    """Return when a process of this machine started, or None if there is none (or a zombie)."""
    try:
        stat = _content(f"/proc/{pid}/stat")
    except OSError:
        return _start_time_without_proc(pid)
    fields = stat.rpartition(b")")[2].split()  # the name in brackets may hold spaces
    return None if fields[0] in b"ZX" else fields[19].decode()


def _content(path: str) -> bytes:
    """Return the bytes of a small file, in a third of the time of `Path.read_bytes`."""
    with open(path, "rb", buffering=0) as file:
        return file.readall()


def _start_time_without_proc(pid: int) -> str | None:
    """Return "unknown" for a live process if the system has no /proc (macOS)."""
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "unknown"
