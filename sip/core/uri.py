"""Places that a setting names: a folder, or a prefix in an object store such as s3://bucket/runs.

A `Uri` is joined and shown like a path. Nothing but scheme, bucket and prefix is in it: keys,
region and endpoint are the environment's, so that none is ever in a configuration or a log.
"""

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sip.core.errors import UserError

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
SCHEMES = ("s3", "gs", "abfs", "abfss", "hdfs", "viewfs")  # file:// is a folder
ENVIRONMENT = "the environment (AWS_ACCESS_KEY_ID, AWS_REGION, AWS_ENDPOINT_URL, ~/.aws, a role)"


@dataclass(frozen=True)
class Uri:
    """A place in an object store.

    Attributes:
        scheme: One of `SCHEMES`.
        path: Bucket and prefix, without slashes at the ends.
    """

    scheme: str
    path: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"

    def __truediv__(self, part: str) -> "Uri":
        return Uri(self.scheme, f"{self.path}/{part}")

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.rpartition("/")[2]

    def absolute(self) -> "Uri":
        """Return the place itself."""
        return self

    @property
    def parent(self) -> "Uri":
        """The place that it is in."""
        return Uri(self.scheme, self.path.rpartition("/")[0])


Place = Path | Uri


def is_uri(text: str) -> bool:
    """Return whether a text names a place in an object store and not a folder."""
    return SCHEME.match(text) is not None


def place_of(text: str | os.PathLike[str] | Uri, key: str = "paths.store") -> Place:
    """Return the place that a setting names.

    Args:
        text: A folder, a URI, or a place.
        key: Key that sets it.

    Raises:
        UserError: It is a URI of another kind, or holds more than scheme, bucket and prefix; the
            rest is not shown, since it may be a secret.
    """
    if isinstance(text, Uri):
        return text
    text = os.fspath(text)
    if not (match := SCHEME.match(text)):
        return Path(text)
    scheme, parts = match[1].lower(), urlsplit(text)
    got = f"a URI of {scheme}:// with"
    if scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise UserError(
                f"{key}: must be a whole path behind file://, as in file:///data/store, got {got} "
                "another machine or no path; write a relative folder without file://"
            )
        return Path(unquote(parts.path))
    if scheme not in SCHEMES:
        names = ", ".join(f"{name}://" for name in SCHEMES)
        raise UserError(
            f"{key}: must be a folder or a place in an object store ({names}), got one of "
            f"{scheme}://; name a folder, or copy the data to one of these"
        )
    user, is_account, _ = parts.netloc.rpartition("@")
    if ":" in user or (is_account and not scheme.startswith("abfs")):
        raise UserError(
            f"{key}: must be without user and password, got {got} them; leave them out: "
            f"credentials are read from {ENVIRONMENT}"
        )
    if parts.query or parts.fragment:
        raise UserError(
            f"{key}: must be only bucket and prefix, got {got} something after '?' or '#'; "
            f"leave it out: keys, region and endpoint are read from {ENVIRONMENT}"
        )
    path = f"{parts.netloc}{parts.path}".strip("/")
    if not parts.netloc or not set(path.split("/")).isdisjoint(("", ".", "..")):
        raise UserError(
            f"{key}: must have a bucket and a prefix of plain names, got {scheme}://{path}; "
            f"say {key}={scheme}://bucket/prefix"
        )
    return Uri(scheme, path)


def relative(file: str, root: Place) -> str:
    """Return a file's path as seen from a root; of a file on this machine, from a bucket, all."""
    if isinstance(root, Path):
        folder, name = os.path.split(file)
        is_plain = os.path.isabs(file) and name not in ("", os.curdir, os.pardir)
        if not is_plain or f"{root}/".startswith(f"{file}/"):
            return os.path.relpath(file, root)
        below = _relative_folder(folder, root)
        return name if below == os.curdir else os.path.join(below, name)
    return file.removeprefix(f"{root}/") if is_uri(file) else os.path.abspath(file)


@lru_cache(4096)
def _relative_folder(folder: str, root: Path) -> str:
    return os.path.relpath(folder, root)


def joined(root: Place, file: str) -> str:
    """Return the place of a file that `relative` made relative to a root."""
    if isinstance(root, Path):
        return os.path.join(root, file)
    return file if os.path.isabs(file) else f"{root}/{file}"
