"""Files that are written whole or not at all, and errors of the disk in one line."""

import errno
import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path
from typing import Any, TypeVar

import yaml

from sip.core import object_cache
from sip.core.errors import UserError, ValueRefusedError
from sip.core.objects import check_bucket
from sip.core.uri import Place, place_of

T = TypeVar("T")

FULL = {errno.ENOSPC, errno.EDQUOT}
CANNOT_WRITE = {*FULL, errno.EROFS, errno.EACCES, errno.EPERM}
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}  # what `flock` says where it is missing
PASSING = {errno.ESTALE, errno.EIO, errno.EAGAIN}  # a network disk may be well a moment later
PAUSES = (0.1, 0.5, 2.0)  # s before the second, third and fourth attempt
RUST_ERROR = re.compile(r"os error (\d+)")  # how safetensors reports the error number


@contextmanager
def atomic_file(path: Path, sync: bool = True) -> Iterator[Path]:
    """Yield a path to write to; it becomes `path` by one rename at the end of the block.

    A reader sees all of the file or nothing of it, and its permissions are those that the umask
    gives, although some libraries (safetensors) write files that only their owner may read. Each
    call has a path of its own, since two processes may write the same file at the same time.
    Missing parent folders are made.

    Args:
        path: Final path; an existing file is replaced.
        sync: Flush the file to the disk first, so that it is also whole after a power failure.
            Costs some milliseconds, which matter for thousands of small files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        part.touch()
        mode = stat.S_IMODE(part.stat().st_mode)
        yield part
        part.chmod(mode)
        if sync:
            fsync(part)
        retried(lambda: os.replace(part, path))
    finally:
        part.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes, sync: bool = True) -> None:
    """Write a text (UTF-8) or bytes through `atomic_file`."""
    with atomic_file(path, sync) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds, in plain types.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no YAML.
    """
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast
    try:
        return yaml.load(path.read_bytes(), loader)  # noqa: S506, both loaders are safe
    except (yaml.YAMLError, TypeError) as error:  # TypeError: a list as a key
        raise ValueError(f"{type(error).__name__}: {error}") from error


def fsync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_at(descriptor: int, data: bytes, start: int) -> None:
    """Write bytes at a place of an open file, all of them: a single call may write a part."""
    left = memoryview(data)
    while left:
        num = os.pwrite(descriptor, left, start)
        left, start = left[num:], start + num


@contextmanager
def held(folder: Path) -> Iterator[bool]:
    """Hold a folder with a lock that ends with the process, however it ends.

    Yields:
        True; False where the file system has no locks.

    Raises:
        BlockingIOError: Another process holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        has_locks = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            has_locks = False
        yield has_locks
    finally:
        os.close(descriptor)


def check_can_be_made(folder: Path, key: str) -> None:
    """Check that a folder is there or can be made; nothing is left behind.

    A folder that is there may be read-only: if everything is cached, nothing is written to it.

    Args:
        folder: The folder.
        key: Configuration key that sets it.

    Raises:
        UserError: It is a file, or cannot be made.
    """
    there = _nearest(folder)
    with _refused(folder, there, key):
        if there != folder:
            with tempfile.TemporaryDirectory(dir=there):
                pass


def _nearest(folder: Path) -> Path:
    """Return a path, or what is there of it."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


@contextmanager
def _refused(folder: Path, there: Path, key: str) -> Iterator[None]:
    """Turn the error of a folder that is a file, or cannot be made or written, into one line."""
    try:
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "it is a file")
        yield
    except OSError as error:
        reason = "no folder can be made here" if error.errno == errno.ENOENT else error.strerror
        raise UserError(
            f"{key}: must be a folder that can be made and written, got {folder} ({there}: "
            f"{reason}); set {key}=FOLDER"
        ) from error


def check_folders(paths: Mapping[str, Any]) -> None:
    """Check that store and runs can be written, before any work.

    Args:
        paths: The `paths` of a configuration.

    Raises:
        UserError: As `check_can_be_made`; or the store is in a bucket that is not there.
    """
    object_cache.configure(paths)
    for key in ("store", "runs"):
        if not isinstance(paths[key], str | os.PathLike):
            fix = f"set paths.{key}=FOLDER"
            raise ValueRefusedError(f"paths.{key}", "a folder", paths[key], fix)
        place = place_of(paths[key], f"paths.{key}")
        if isinstance(place, Path):
            check_can_be_made(place, f"paths.{key}")
        elif key == "runs":
            fix = "only paths.store may be in an object store; set paths.runs=FOLDER"
            raise UserError(f"paths.runs: must be a folder, got {place}; {fix}")
        else:
            check_can_be_made(object_cache.folder(), "paths.cache")
            check_bucket(place, "paths.store")


def check_output(file: Path, key: str = "output") -> None:
    """Check that an output can be written, before any work; nothing is left behind.

    Its folder is there, or one below a folder that is. Below the working folder, any are made.

    Args:
        file: What the command line names.
        key: Key that names it.

    Raises:
        UserError: It is a path into nowhere, most likely a mistyped one, or cannot be written.
    """
    parent = file.parent
    if file.is_absolute() and not (parent.is_dir() or parent.parent.is_dir()):
        raise UserError(
            f"{key}: must be in a folder that is there or one below it, got {file}; there is no "
            f"{parent.parent}: make it, or correct the path"
        )
    if file.suffix and file.is_dir():
        raise UserError(f"{key}: must be a file, got the folder {file}; name a file in it")
    there = _nearest(parent)
    with _refused(parent, there, key), tempfile.TemporaryDirectory(dir=there):
        pass


@contextmanager
def plain_disk_errors(place: Path, key: str = "paths.store") -> Iterator[None]:
    """Turn an error of a full or read-only disk into one line.

    Args:
        place: Folder or file that is written.
        key: Configuration key that sets the folder.

    Raises:
        UserError: The disk cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise UserError(
                f"{place}: files vanished while they were written: someone removed them, or "
                "another process took this one for dead, since it gave no sign of life for long; "
                "start again: finished work is kept"
            ) from error
        if error.errno in NO_LOCKS:
            raise UserError(
                f"{key}: must be on a file system with locks, got {place} on {file_system(place)} "
                f"({error.strerror}); choose another folder ({key}=...), or mount it with locks "
                "(NFS: a running lock service, Lustre: -o flock)"
            ) from error
        if error.errno in PASSING:
            raise UserError(
                f"{place}: the file system ({file_system(place)}) does not answer: "
                f"{error.strerror}, also after {len(PAUSES) + 1} attempts; look after the disk or "
                "its mount, then start again: finished work is kept"
            ) from error
        if error.errno not in CANNOT_WRITE:
            raise
        raise UserError(
            f"cannot write to {place}: {error.strerror}; make room or give another folder "
            f"({key}=...), then start again: finished work is kept"
        ) from error


def retried(action: Callable[[], T]) -> T:
    """Do what is done whole or not at all; again after a pause if a network disk fails."""
    for pause in PAUSES:
        try:
            return action()
        except OSError as error:
            if error.errno not in PASSING:
                raise
            time.sleep(pause)
    return action()


def files_below(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield all files below a folder: path relative to it, and bytes; links are not followed."""
    folders = [""]
    while folders:
        inner = folders.pop()
        with suppress(FileNotFoundError), os.scandir(folder / inner) as entries:
            for entry in entries:
                name = f"{inner}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    folders.append(f"{name}/")
                else:
                    with suppress(FileNotFoundError):  # removed meanwhile
                        yield name, entry.stat(follow_symlinks=False).st_size


def file_system(place: Path) -> str:
    """Return the type of the file system of a path, such as "nfs4"."""
    import psutil

    parents = {place.absolute(), *place.absolute().parents}
    mounts = [part for part in psutil.disk_partitions(all=True) if Path(part.mountpoint) in parents]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else "unknown type"


def disk_error(error: BaseException | None) -> str | None:
    """Return one line if an error, or its cause, is a disk that cannot be written.

    For files that libraries write; None for every other error.
    """
    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        if number is None and (match := RUST_ERROR.search(str(error))):
            number = int(match[1])
        if number in CANNOT_WRITE:
            place = getattr(error, "filename", None) or "a folder of paths.*"
            problem = "the disk is full" if number in FULL else os.strerror(number)
            return (
                f"cannot use {place}: {problem}; make room or give another folder "
                "(paths.store=..., paths.runs=...), then start again: finished work is kept"
            )
        error = error.__cause__ or error.__context__
    return None


def free_bytes(place: Place) -> float:
    """Return the free bytes on the disk of a folder that need not exist yet; inf of a bucket."""
    if not isinstance(place, Path):
        return inf
    folder = place
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
