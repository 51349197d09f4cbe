"""A disk that cannot be written, in one line: full, read-only, or gone."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sip.core.errors import UserError

FULL = {errno.ENOSPC, errno.EDQUOT}
CANNOT_WRITE = {*FULL, errno.EROFS, errno.EACCES, errno.EPERM}
RUST_ERROR = re.compile(r"os error (\d+)")  # how safetensors passes an error's number on


@contextmanager
def plain_disk_errors(place: Path, key: str = "paths.store") -> Iterator[None]:
    """Turn a full disk or a read-only folder into one line; `key` is what sets the folder."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise UserError(
                f"{place}: files vanished while they were written: someone removed them, or "
                "another process took this one for dead, since it gave no sign of life for long; "
                "start again: what is finished is kept"
            ) from error
        if error.errno not in CANNOT_WRITE:
            raise
        raise UserError(
            f"cannot write to {place}: {error.strerror}; make room or give another folder "
            f"({key}=...), then start again: what is finished is kept"
        ) from error


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a path to write to, which becomes `path` by one rename once all is written.

    Each process has its own, since two may do the same work at the same time.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def disk_error(error: BaseException | None) -> str | None:
    """Return one line where an error, or what caused it, is a disk that cannot be written.

    For what libraries write, each in its own way; None for every other error.
    """
    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        if number is None and (match := RUST_ERROR.search(str(error))):
            number = int(match[1])
        if number in CANNOT_WRITE:
            place = getattr(error, "filename", None) or "a folder of paths.*"
            what = "the disk is full" if number in FULL else os.strerror(number)
            return (
                f"cannot use {place}: {what}; make room or give another folder (paths.store=..., "
                "paths.runs=...), then start again: what is finished is kept"
            )
        error = error.__cause__ or error.__context__
    return None
