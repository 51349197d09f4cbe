"""Tar files whose members are found by offset: `<tar>::<offset>:<size>` names a member's bytes.

Plain POSIX (ustar) archives that depend only on their members: no times, no owners. One file holds
thousands of images, and each is still read with a single `pread`. A file may be an object in a
store, named by its URI: then only the member's range of it is read, or a copy on this machine.
"""

import hashlib
import os
import re
import stat
import tarfile
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from sip.core import moved, object_cache
from sip.core.errors import DamagedError
from sip.core.uri import is_uri

MAX_BYTES = 2**30  # of a file or member that is read whole; an image of the largest size has fewer
MAX_OPEN = 64  # tar files that stay open for reading
END = bytes(2 * tarfile.BLOCKSIZE)  # closes an archive
EMPTY = tarfile.TarInfo("").tobuf(tarfile.USTAR_FORMAT)  # header of a member without a name
SIZE, CHECKSUM = slice(124, 135), slice(148, 156)  # in it
REFERENCE = re.compile(r"(.+\.tar)::(\d+):(\d+)", re.DOTALL)


def member(name: str, data: bytes) -> bytes:
    """Return a member as it stands in an archive: one block of header, the data, zeros.

    Raises:
        ValueError: The name is longer than 100 bytes, or 8 GiB or more of data.
    """
    return _header(name, len(data)) + data + bytes(-len(data) % tarfile.BLOCKSIZE)


def _header(name: str, size: int) -> bytes:
    """Return what `tarfile` writes in front of a member, in a tenth of its time."""
    field = name.encode(tarfile.ENCODING, "surrogateescape")
    if len(field) > tarfile.LENGTH_NAME or size >= 8**11:
        info = tarfile.TarInfo(name)
        info.size = size
        return info.tobuf(tarfile.USTAR_FORMAT)
    header = bytearray(EMPTY)
    header[: len(field)] = field
    header[SIZE] = b"%011o" % size
    header[CHECKSUM] = b" " * 8
    header[CHECKSUM] = b"%06o\0 " % sum(header)
    return bytes(header)


def reference(tar: str | os.PathLike[str], start: int, size: int) -> str:
    """Return the name of the data of the member that starts at `start`, bytes."""
    return reference_to(tar, start + tarfile.BLOCKSIZE, size)


def reference_to(tar: str | os.PathLike[str], offset: int, size: int) -> str:
    """Return the name of the `size` bytes at `offset`, which `split_reference` takes apart."""
    return f"{os.fspath(tar)}::{offset}:{size}"


def split_reference(text: str) -> tuple[str, int, int] | None:
    """Return tar, offset and size in bytes; None if `text` is the path of a file of its own."""
    match = REFERENCE.fullmatch(text)
    return (match[1], int(match[2]), int(match[3])) if match else None


def read_bytes(file: str | os.PathLike[str], cached: bool = True) -> bytes:
    """Return the bytes of a file, or of a member that a reference names; from any thread.

    Args:
        file: Path, URI of an object, or a reference into one of them.
        cached: Whether a copy of an object on this machine may be read.

    Raises:
        OSError: It is not there or cannot be read.
        ValueError: It is not a regular file, or larger than `MAX_BYTES`, or the tar file ends
            before the member does.
    """
    path, offset, size = split_reference(os.fspath(file)) or (os.fspath(file), 0, None)
    try:
        return _read(path, offset, size, cached)
    except FileNotFoundError:
        for there, start in moved.places_of(path, None if size is None else offset):
            with suppress(FileNotFoundError):
                return _read(there, start or 0, size, cached)
        raise


def _read(tar: str, offset: int, size: int | None, cached: bool) -> bytes:
    """Return bytes of a file, or all of them, as `read_bytes` does."""
    if is_uri(tar):
        if size is not None and size > MAX_BYTES:
            raise ValueError(f"{size} bytes is more than {MAX_BYTES} bytes")
        return object_cache.read(tar, offset, size, cached)
    # Held, since the cache may drop it meanwhile.
    opened = _Open(tar) if size is None else _open(tar)
    there = max(0, os.fstat(opened.descriptor).st_size - offset)
    size = there if size is None else size
    if size > there:  # a header may name any size
        raise ValueError(f"{tar} should hold {size} bytes at {offset}, holds {there}")
    if size > MAX_BYTES:
        raise ValueError(f"{size} bytes is more than {MAX_BYTES} bytes")
    data = os.pread(opened.descriptor, size, offset) if size else b""
    if len(data) < size:
        raise ValueError(f"{tar} should hold {size} bytes at {offset}, holds {len(data)}")
    return data


def read_checked(file: str | os.PathLike[str], sha256: str | None, cached: bool = True) -> bytes:
    """Return the bytes of a finished file, or member, which are what was written.

    Args:
        file, cached: As in `read_bytes`.
        sha256: Its row's "file_sha256", in hex digits; None for a file that has none.

    Raises:
        DamagedError: They are not, or not there.
    """
    try:
        return read_if(file, lambda data: sha256 in (None, _sha256(data)), cached)
    except (OSError, ValueError) as error:
        raise _damaged(file, str(error)) from error


def read_if(
    file: str | os.PathLike[str], is_right: Callable[[bytes], bool], cached: bool = True
) -> bytes:
    """Return the bytes of a file; of an object whose copy on this machine is damaged, its own.

    Args:
        file, cached: As in `read_bytes`.
        is_right: Whether bytes are those that were written.

    Raises:
        OSError, ValueError: They are not, or as of `read_bytes`.
    """
    data = read_bytes(file, cached)
    if is_right(data):
        return data
    tar, *_ = split_reference(os.fspath(file)) or (os.fspath(file),)
    if cached and is_uri(tar):
        object_cache.forget(tar)
        return read_if(file, is_right, cached=False)
    raise ValueError("its checksum is not the one that it was written with")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def member_name(file: str) -> str:
    """Return the name of a finished file, or of the member that a reference names."""
    parts = split_reference(file)
    if parts is None:
        return Path(file).name
    tar, offset, _ = parts
    header = read_bytes(reference_to(tar, offset - tarfile.BLOCKSIZE, tarfile.BLOCKSIZE))
    return tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").name


def entry(file: str) -> tuple[str, int, bytes]:
    """Return a member that a reference names, whole, with the one behind it: its row as JSON.

    Returns:
        The path of the tar file, where the member starts in it, and the bytes of both.

    Raises:
        OSError, ValueError: As of `read_bytes`, or the reference names no member.
    """
    parts = split_reference(file)
    if parts is None:
        raise ValueError(f"{file} must be a member of a tar file")
    tar, offset, size = parts
    start, block = offset - tarfile.BLOCKSIZE, tarfile.BLOCKSIZE
    behind = offset + size + -size % block
    header = read_bytes(reference_to(tar, behind, block))
    try:
        length = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").size
    except tarfile.HeaderError as error:
        raise ValueError(f"no row is behind the member at {offset} ({error})") from error
    end = behind + block + length + -length % block
    return tar, start, read_bytes(reference_to(tar, start, end - start))


def _damaged(file: str | os.PathLike[str], reason: str) -> DamagedError:
    return DamagedError(
        f"{os.fspath(file)} is damaged ({reason}); retry=damaged checks the store and makes what "
        "is damaged again"
    )


class _Open:
    """A regular file open for reading until no thread and no cache holds it any more.

    Raises:
        OSError: It cannot be opened.
        ValueError: It is a folder, a pipe or a device: to read one may never end.
    """

    def __init__(self, path: str) -> None:
        # Without O_NONBLOCK the open of a pipe waits for a writer.
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(self.descriptor).st_mode):
            raise ValueError("it is not a regular file")

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):  # else it could not be opened
            os.close(self.descriptor)


@lru_cache(MAX_OPEN)
def _open(path: str) -> _Open:
    return _Open(path)
