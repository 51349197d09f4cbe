"""Tar files whose members are found by offset: `<tar>::<offset>:<size>` names a member's bytes.

Plain POSIX (ustar) archives that depend only on their members: no times, no owners. One file holds
thousands of images, and each is still read with a single `pread`.
"""

import hashlib
import os
import re
import tarfile
from functools import lru_cache
from pathlib import Path

from sip.core.errors import DamagedError

MAX_OPEN = 64  # tar files that stay open for reading
END = bytes(2 * tarfile.BLOCKSIZE)  # closes an archive
REFERENCE = re.compile(r"(.+\.tar)::(\d+):(\d+)", re.DOTALL)


def member(name: str, data: bytes) -> bytes:
    """Return a member as it stands in an archive: one block of header, the data, zeros.

    Raises:
        ValueError: The name is longer than 100 bytes, or 8 GiB or more of data.
    """
    info = tarfile.TarInfo(name)
    info.size = len(data)
    header = info.tobuf(tarfile.USTAR_FORMAT)
    return header + data + bytes(-len(data) % tarfile.BLOCKSIZE)


def reference(tar: str | os.PathLike[str], start: int, size: int) -> str:
    """Return the name of the data of the member that starts at `start`, bytes."""
    return f"{os.fspath(tar)}::{start + tarfile.BLOCKSIZE}:{size}"


def split_reference(text: str) -> tuple[str, int, int] | None:
    """Return tar, offset and size in bytes; None if `text` is the path of a file of its own."""
    match = REFERENCE.fullmatch(text)
    return (match[1], int(match[2]), int(match[3])) if match else None


def read_bytes(file: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a file, or of a member that a reference names; from any thread.

    Raises:
        OSError: It is not there or cannot be read.
        ValueError: The tar file ends before the member does.
    """
    parts = split_reference(os.fspath(file))
    if parts is None:
        return Path(file).read_bytes()
    tar, offset, size = parts
    opened = _open(tar)  # held, since the cache may drop it meanwhile
    there = os.fstat(opened.descriptor).st_size - offset  # first: a header may name any size
    data = os.pread(opened.descriptor, size, offset) if size <= there else b""
    if len(data) < size:
        raise ValueError(f"{tar} should hold {size} bytes at {offset}, holds {max(there, 0)}")
    return data


def read_checked(file: str | os.PathLike[str], sha256: str | None) -> bytes:
    """Return the bytes of a finished file, or member, which are what was written.

    Args:
        file: As in `read_bytes`.
        sha256: Its row's "file_sha256", in hex digits; None for a file that has none.

    Raises:
        DamagedError: They are not, or not there.
    """
    try:
        data = read_bytes(file)
    except (OSError, ValueError) as error:
        raise _damaged(file, str(error)) from error
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise _damaged(file, "its checksum is not the one that it was written with")
    return data


def member_name(file: str) -> str:
    """Return the name of a finished file, or of the member that a reference names."""
    parts = split_reference(file)
    if parts is None:
        return Path(file).name
    tar, offset, _ = parts
    header = os.pread(_open(tar).descriptor, tarfile.BLOCKSIZE, offset - tarfile.BLOCKSIZE)
    return tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").name


def _damaged(file: str | os.PathLike[str], reason: str) -> DamagedError:
    return DamagedError(
        f"{os.fspath(file)} is damaged ({reason}); retry=damaged checks the store and makes what "
        "is damaged again"
    )


class _Open:
    """A file open for reading until nobody, no thread and not the cache, holds it any more."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):  # else it could not be opened
            os.close(self.descriptor)


@lru_cache(MAX_OPEN)
def _open(path: str) -> _Open:
    return _Open(path)
