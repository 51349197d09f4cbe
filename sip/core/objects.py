"""Objects in a store such as S3: read, written, listed and deleted, again if the store fails.

All of it goes through `pyarrow.fs`. An object appears whole or not at all. Requests that fail since
the store is busy, slow or out of reach are repeated with growing pauses; what is refused
(credentials, no such bucket) is one line at once. A missing object is a `FileNotFoundError`.
"""

import os
import re
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from sip.core.errors import UserError
from sip.core.progress import say
from sip.core.uri import ENVIRONMENT, Uri

T = TypeVar("T")

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 60.0)  # s before the second, third ... attempt
FIRST_ATTEMPTS = 3  # before any work: a mistyped endpoint is named soon
SAID_FROM = 4.0  # s; shorter pauses are nobody's concern
CONNECT_TIMEOUT = 10.0  # s
REQUESTS = 3  # of the library itself, within one attempt: a part of a shard, not all of it
CHUNK = 2**23  # bytes that are sent or read at a time
MAX_OPEN = 64  # objects that stay open for reading
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
WHOLE_WRITES = ("s3", "gs", "abfs", "abfss")  # an object is seen once it is written
# What repeating does not cure, as AWS, Google and Azure word it.
REFUSED = re.compile(
    r"ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_ACCESS_KEY|INVALID_CLIENT_TOKEN|SIGNATURE|EXPIRED_TOKEN"
    r"|HTTP status (40[0134]|30[17])\b|MISSING_AUTHENTICATION|PERMISSION_DENIED|UNAUTHENTICATED"
    r"|AUTHORIZATION|AUTHENTICATION|CREDENTIAL|CONTAINERNOTFOUND|BUCKET DOES NOT EXIST",
    re.IGNORECASE,
)
MISSING = re.compile("NO_SUCH_KEY|RESOURCE_NOT_FOUND")
REQUEST_ID = re.compile(r"\s*\((?:Request ID|Details)[^)]*\)")


@dataclass(frozen=True)
class Listed:
    """An object as a listing shows it.

    Attributes:
        name: Relative to the place that was listed.
        size: Bytes.
        modified: When it was written, by the store's clock, s since 1970.
    """

    name: str
    size: int
    modified: float


def read(uri: Uri, offset: int = 0, size: int | None = None) -> bytes:
    """Return the bytes of an object, or `size` of them from `offset` on; from any thread.

    Raises:
        FileNotFoundError: There is no such object.
        UserError: The store refuses, or does not answer.
    """

    def action() -> bytes:
        if size is None:
            with _system(uri).open_input_stream(uri.path) as source:
                return bytes(source.read())[offset:]
        data = bytes(_opened(uri, os.getpid()).read_at(size, offset)) if size else b""
        if len(data) < size:
            raise OSError(f"got {len(data)} of {size} bytes")
        return data

    return attempt(uri, action)


def read_into(uri: Uri, file: Any) -> None:
    """Copy an object into a file that is open for writing."""

    def action() -> None:
        file.seek(0)
        with _system(uri).open_input_stream(uri.path) as source:
            while chunk := source.read(CHUNK):
                file.write(chunk)
        file.truncate()

    attempt(uri, action)


def write(uri: Uri, content: bytes | Path, attempts: int | None = None) -> None:
    """Write an object, which replaces one of that name; readers see all of it or nothing.

    Args:
        uri: Its place.
        content: Its bytes, or a file with them.
        attempts: How often it is tried; None: until all pauses are over.

    Raises:
        UserError: The store refuses, or does not answer.
    """
    size = len(content) if isinstance(content, bytes) else content.stat().st_size

    def action() -> None:
        system, path = _system(uri), uri.path
        if uri.scheme not in WHOLE_WRITES:
            path = f"{path}.{uuid.uuid4().hex[:8]}.part"
            system.create_dir(uri.parent.path, recursive=True)
        with system.open_output_stream(path) as target:
            if isinstance(content, bytes):
                target.write(content)
            else:
                with content.open("rb") as source:
                    while chunk := source.read(CHUNK):
                        target.write(chunk)
        if path != uri.path:
            system.move(path, uri.path)
        if (there := system.get_file_info(uri.path).size) != size:
            raise OSError(f"{there} of {size} bytes were stored")

    attempt(uri, action, attempts)


def listing(place: Uri) -> list[Listed]:
    """Return all objects below a place, by name; none if there is no such place."""
    from pyarrow.fs import FileType

    start = len(place.path) + 1
    return [
        Listed(info.path[start:], info.size, (info.mtime_ns or 0) / 1e9)
        for info in _infos(place, True)
        if info.type == FileType.File
    ]


def folders(place: Uri) -> list[str]:
    """Return the names of what is directly below a place and has objects below it."""
    from pyarrow.fs import FileType

    return [info.base_name for info in _infos(place, False) if info.type == FileType.Directory]


def check_bucket(uri: Uri, key: str) -> None:
    """Check that the bucket of a place is there and can be listed.

    Raises:
        UserError: It is not.
    """
    from pyarrow.fs import FileType

    root = uri.path.partition("/")[0]
    info = attempt(uri, lambda: _system(uri).get_file_info(root), FIRST_ATTEMPTS)
    if info.type == FileType.NotFound and uri.scheme in WHOLE_WRITES:
        raise UserError(
            f"{key}: must be in a bucket that is there, got {uri}; make the bucket {root}, or "
            f"correct {key}"
        )


def _infos(place: Uri, recursive: bool) -> list[Any]:
    from pyarrow.fs import FileSelector

    selector = FileSelector(place.path, allow_not_found=True, recursive=recursive)
    infos = attempt(place, lambda: _system(place).get_file_info(selector))
    return sorted(infos, key=lambda info: info.path)


def size_of(uri: Uri) -> int:
    """Return the bytes of an object.

    Raises:
        FileNotFoundError: There is no such object.
    """
    size: int | None = attempt(uri, lambda: _system(uri).get_file_info(uri.path)).size
    if size is None:
        raise FileNotFoundError(f"{uri} is not there")
    return size


def modified(uri: Uri) -> float:
    """Return when an object was written, by the store's clock, s since 1970."""
    info = attempt(uri, lambda: _system(uri).get_file_info(uri.path))
    return (info.mtime_ns or 0) / 1e9


def delete(uri: Uri, attempts: int | None = None) -> None:
    """Delete an object, with `attempts` as in `write`; one that is not there is no error."""

    def action() -> None:
        with suppress(FileNotFoundError):
            _system(uri).delete_file(uri.path)

    attempt(uri, action, attempts)


def delete_below(place: Uri) -> None:
    """Delete all objects below a place, and the empty one that `delete` leaves in its name."""

    def action() -> None:
        with suppress(FileNotFoundError):
            _system(place).delete_dir(place.path)

    attempt(place, action)


def copy(source: Uri, target: Uri) -> None:
    """Copy an object within the store."""
    attempt(source, lambda: _system(source).copy_file(source.path, target.path))


def attempt(uri: Uri, action: Callable[[], T], attempts: int | None = None) -> T:
    """Do what may be done twice, again after a pause if the store fails.

    Raises:
        FileNotFoundError: The object is not there.
        UserError: The store refuses, or does not answer.
    """
    pauses = PAUSES if attempts is None else PAUSES[: attempts - 1]
    for pause in (*pauses, None):
        try:
            return action()
        except FileNotFoundError:
            raise
        except OSError as error:
            reason = _reason(error)
            if MISSING.search(reason):
                raise FileNotFoundError(f"{uri} is not there") from error
            if REFUSED.search(str(error)):
                raise UserError(
                    f"{uri}: the object store refuses: {reason}; check the bucket, and the "
                    f"credentials in {ENVIRONMENT}"
                ) from error
            if pause is None:
                raise UserError(
                    f"{uri}: the object store does not answer: {reason}, also after "
                    f"{len(pauses) + 1} attempts; start again when it does: finished work is kept"
                ) from error
            _opened.cache_clear()
            if pause >= SAID_FROM:
                say("store", f"{uri} does not answer ({reason}): again in {pause:.0f} s")
            time.sleep(pause)
    raise AssertionError


def _reason(error: BaseException) -> str:
    """Return what an error says, in one line, without the id of the request."""
    text = " ".join(REQUEST_ID.sub("", str(error)).split())
    return text[text.find("AWS Error") :] if "AWS Error" in text else text


@lru_cache(MAX_OPEN)
def _opened(uri: Uri, pid: int) -> Any:
    """Return an object that is open for reading; it is asked for its size once."""
    return _system(uri).open_input_file(uri.path)


def _system(uri: Uri) -> Any:
    """Return the file system of a URI; each process has its own, connections cannot be shared."""
    root = uri.path.partition("/")[0]
    return _system_of(uri.scheme, root, os.getpid(), tuple(map(os.environ.get, ENDPOINTS)))


@lru_cache
def _system_of(scheme: str, root: str, pid: int, endpoints: tuple[str | None, ...]) -> Any:
    from pyarrow import __version__ as version
    from pyarrow import fs

    if scheme == "s3":
        endpoint = next(filter(None, endpoints), None)
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if region is None and endpoint is None:
            region = attempt(Uri(scheme, root), lambda: fs.resolve_s3_region(root), FIRST_ATTEMPTS)
        # One request for a small object in place of three.
        one_request = {"allow_delayed_open": True} if int(version.partition(".")[0]) >= 21 else {}
        return fs.S3FileSystem(
            region=region,
            endpoint_override=endpoint,
            connect_timeout=CONNECT_TIMEOUT,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=REQUESTS),
            background_writes=False,  # else all parts of a shard are in memory
            **one_request,
        )
    if scheme == "gs":  # its own attempts go on for a quarter of an hour
        return fs.GcsFileSystem(retry_time_limit=timedelta(seconds=30))
    system, _ = fs.FileSystem.from_uri(f"{scheme}://{root}/")
    return system
