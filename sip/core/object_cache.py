"""What was read of object stores, kept on this machine's disk up to a number of bytes.

    <cache>/objects/<hash>    objects as they are in the store; never changed
    <cache>/s3/<bucket>/...   what a place has on this machine: unfinished shards, trials, answers

Objects in the store never change, so a copy is right as long as it is whole. An object of which a
process reads single images is copied once it has asked for some of them; until then, and while
there is no space, it asks for ranges. What was used within the last minutes is not pushed out: an
epoch that is larger than the cache then still has its share of hits, and not none. All processes
of a machine share the cache. The folder is `paths.cache` or SIP_CACHE.
"""

import fcntl
import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sip.core import objects
from sip.core.errors import UserError
from sip.core.uri import Place, Uri, is_uri, place_of

FOLDER = "SIP_CACHE"  # environment variables: worker processes inherit them
LIMIT = "SIP_CACHE_GIB"
DEFAULT_GIB = 20.0
WHOLE_AFTER = 4  # reads from an object by one process, after which it is copied
IN_USE = 600.0  # s since its last use, within which an object is not pushed out
TOUCH_EVERY = 60.0  # s

_reads: Counter[Uri] = Counter()
_own: dict[str, tuple[str, str | None]] = {}  # variable -> what it was set to, and was before


def configure(paths: Mapping[str, Any]) -> None:
    """Take the cache that a configuration's `paths` name, for this process and those it starts.

    Null takes that of the environment, also if an earlier job of this process had another.

    Raises:
        UserError: The limit is not a number of at least 0.
    """
    if "cache" in paths:
        _set(FOLDER, paths["cache"])
    if "cache_gib" in paths:
        gib = paths["cache_gib"]
        is_number = isinstance(gib, int | float) and not isinstance(gib, bool)
        if gib is not None and not (is_number and gib >= 0):
            raise UserError(f"paths.cache_gib: must be >= 0, got {gib!r}; say paths.cache_gib=20")
        _set(LIMIT, gib)


def _set(name: str, value: object) -> None:
    """Set an environment variable; None: to what it was before this process set it."""
    there = os.environ.get(name)
    ours, before = _own.pop(name, (None, None))
    if there != ours:
        before = there
    if value is not None:
        _own[name] = str(value), before
        os.environ[name] = str(value)
    elif before is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = before


def folder() -> Path:
    """Return the folder of the cache."""
    return Path(os.environ.get(FOLDER) or "~/.cache/sip").expanduser().absolute()


def on_disk(place: Place) -> Path:
    """Return the folder of this machine for what belongs to a place: a folder is its own."""
    return place if isinstance(place, Path) else folder() / place.scheme / place.path


def folder_on_disk(text: str) -> Path:
    """Return `on_disk` of the place that a text names."""
    return on_disk(place_of(text)) if is_uri(text) else Path(text)


def read(text: str, offset: int = 0, size: int | None = None, cached: bool = True) -> bytes:
    """Return the bytes of an object, or `size` of them from `offset` on; from any thread.

    Args:
        text: Its URI.
        offset, size: What to read; all of it by default.
        cached: Whether a copy may be read, or made.

    Raises:
        OSError: There is no such object, or it is shorter.
        UserError: The store refuses, or does not answer.
    """
    uri = place_of(text)
    assert isinstance(uri, Uri)
    if not cached:
        return objects.read(uri, offset, size)
    copy = _copy_of(uri)
    data = _read_copy(copy, offset, size)
    if data is None:
        _reads[uri] += 1
        if (size is None or _reads[uri] >= WHOLE_AFTER) and _admit(uri, copy):
            data = _read_copy(copy, offset, size)
    return objects.read(uri, offset, size) if data is None else data


def forget(text: str) -> None:
    """Delete the copy of an object."""
    uri = place_of(text)
    assert isinstance(uri, Uri)
    with suppress(OSError):
        _copy_of(uri).unlink()


def adopt(uri: Uri, file: Path) -> None:
    """Move a file that was written to the store into the cache, if there is space."""
    copy = _copy_of(uri)
    with suppress(OSError):
        copy.parent.mkdir(parents=True, exist_ok=True)
        with _locked():
            if _has_space(file.stat().st_size):
                os.replace(file, copy)


def _copy_of(uri: Uri) -> Path:
    return folder() / "objects" / hashlib.sha256(str(uri).encode()).hexdigest()[:32]


def _read_copy(copy: Path, offset: int, size: int | None) -> bytes | None:
    """Return bytes of a copy; None if there is none, or it is shorter."""
    try:
        descriptor = os.open(copy, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if time.time() - status.st_mtime > TOUCH_EVERY:
            os.utime(copy)
        number = status.st_size - offset if size is None else size
        data = os.pread(descriptor, number, offset)
        return data if len(data) == number else None
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _admit(uri: Uri, copy: Path) -> bool:
    """Copy an object if there is space and no other process does; return whether it is there.

    A disk that cannot hold it is no error: the object is read where it is.
    """
    size = objects.size_of(uri)
    part = copy.with_name(f"{copy.name}.part")
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with _locked():
                is_there = copy.exists()  # another process was faster
                if is_there or not _has_space(size, part):
                    part.unlink(missing_ok=True)
                    return is_there
                os.truncate(part, size)  # counts for others from now on
            with open(part, "r+b") as target:
                objects.read_into(uri, target)
            if part.stat().st_size != size:
                return False
            os.replace(part, copy)
    except FileNotFoundError:
        if not copy.exists():
            objects.size_of(uri)  # the object itself may be gone
        return copy.exists()
    except OSError:
        return False
    return True


def _has_space(size: int, part: Path | None = None) -> bool:
    """Push out what was not used for long until `size` bytes fit; the lock must be held."""
    limit = float(os.environ.get(LIMIT) or DEFAULT_GIB) * 2**30
    files = []
    for entry in os.scandir(folder() / "objects"):
        with suppress(FileNotFoundError):
            status = entry.stat()
            if part is None or entry.name != part.name:
                files.append((status.st_mtime, status.st_size, entry.path))
    total = sum(number for _, number, _ in files)
    if size > limit:
        return False
    for used, number, path in sorted(files):
        if total + size <= limit or time.time() - used < IN_USE:
            break
        with suppress(OSError):
            os.unlink(path)
            total -= number
    return total + size <= limit


@contextmanager
def _locked() -> Iterator[None]:
    with open(folder() / ".lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
