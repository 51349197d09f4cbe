"""Who makes which rows: claims that keep two processes from making the same row.

Every owner (one call of `fill`) has one file in the folder of claims, with the keys that it is
making. All files are read and written under one lock of the file system (`fcntl.flock`), which is
held for milliseconds and which the system itself drops when its holder dies. A claim counts as
long as its owner lives: on the same machine the process is looked up, with its start time, since
process ids come back; elsewhere the claim's file must have been touched lately.
"""

import fcntl
import json
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
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
        number: How many claims the owner has made, this one included.
    """

    host: str
    pid: int
    started: str | None
    keys: list[str]
    number: int = 0


class Claims:
    """The claims in one folder, seen by one owner.

    Attributes:
        owner: Name of this owner: host, process id, and a token; also its file's name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.owner = f"{host_name()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._file = folder / f"{self.owner}.json"
        self._stop = threading.Event()
        self._number = 0  # of the last claim
        self._held: list[str] = []
        self._seen: dict[str, tuple[str, Claim]] = {}  # owner -> its file, read and parsed

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
        """Read the claims of others, so that `others` need only read what changes until then."""
        for file in self.folder.glob("*.json"):
            if file != self._file:
                self._read(file)

    def _read(self, file: Path) -> "Claim | None":
        """Return a claim; None for one that is gone or garbled: its rows may be made twice."""
        try:
            text = file.read_text()
            known = self._seen.get(file.stem)
            if known is None or known[0] != text:
                known = text, Claim(**json.loads(text))
        except (OSError, ValueError, TypeError):
            self._seen.pop(file.stem, None)
            return None
        self._seen[file.stem] = known
        return known[1]

    def others(self) -> dict[str, str]:
        """Return key -> owner for all keys that other live owners make; forget the dead.

        Must be called with the lock held.
        """
        now = self._file_system_time()
        for unfinished in self.folder.glob(".*"):  # its writer died with the lock in hand
            unfinished.unlink()
        claimed: dict[str, str] = {}
        for file in self.folder.glob("*.json"):
            if file == self._file:
                continue
            claim = self._read(file)
            if claim and is_alive(claim, now - file.stat().st_mtime):
                claimed.update(dict.fromkeys(claim.keys, file.stem))
            else:
                file.unlink()
        return claimed

    def number_of(self, owner: str) -> int:
        """Return which claim of its own an owner held at the last look; 0 if none was seen."""
        return self._seen[owner][1].number if owner in self._seen else 0

    def file_of(self, owner: str) -> Path:
        """Return the file of an owner's claim; once it is gone, others make its rows."""
        return self.folder / f"{owner}.json"

    def owners(self) -> set[str]:
        """Return who has a claim. Must be called with the lock held."""
        return {file.stem for file in self.folder.glob("*.json")}

    def take(self, keys: list[str]) -> None:
        """Claim `keys` in place of what was claimed before. Must be called with the lock held."""
        if not self._held:
            self._stop = threading.Event()
            threading.Thread(target=self._beat, args=(self._stop,), daemon=True).start()
        self._held = keys
        pid = os.getpid()
        self._number += 1
        claim = Claim(host_name(), pid, start_time(pid), keys, self._number)
        write_atomically(self._file, json.dumps(asdict(claim)))

    def release(self) -> None:
        """Give all claims back; do nothing if none is held."""
        if self._held:
            self._stop.set()
            with suppress(OSError), self.locked():  # a disk that is gone: the claim dies with us
                self._file.unlink(missing_ok=True)
            self._held = []

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(HEARTBEAT_EVERY):
            try:
                os.utime(self._file)
            except OSError:  # released or taken over meanwhile, or the disk is out of reach
                continue

    def _file_system_time(self) -> float:
        """Return now as the file system sees it; its clock need not be this machine's."""
        os.utime(self.folder / LOCK_FILE)
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
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        space = f"{boot}{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        space = "0"
    return f"{socket.gethostname().replace('/', '_')}.{space}"


def start_time(pid: int) -> str | None:
    """Return when a process of this machine started, or None if there is none (or a zombie)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return _start_time_without_proc(pid)
    fields = stat.rpartition(")")[2].split()  # the name in brackets may hold spaces
    return None if fields[0] in "ZX" else fields[19]


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
