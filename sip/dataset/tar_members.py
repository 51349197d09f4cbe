"""The members of a tar file, from its headers; a later start reads a list of them in their place.

A tar file has no directory: to list it is to read a block before each member, which takes minutes
for millions of images, and longer over a network. The list is an Arrow file of its own for each
tar file. A tar file is the same if its size, times and inode are.
"""

import tarfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from sip.core.errors import UserError
from sip.core.hashing import digest
from sip.core.tars import read_bytes, reference_to
from sip.core.text import reason_of
from sip.dataset.arrow_files import read_arrow, write_arrow
from sip.dataset.index import SETTLED, STAMP, stamp_of

MAX_FACTS = 2**20  # bytes of a header, or of a member that states facts
MAX_KEPT = 2**12  # bytes of such a member that the list has, too
READ_WHOLE = (  # types of headers whose content `tarfile` reads, whatever its size
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)


class Member(NamedTuple):
    """A member that is no folder.

    Attributes:
        name: As in the header.
        is_file: Whether it is a plain file, no link, device or sparse file.
        start, size: Where its content lies, in bytes.
        content: The bytes, of a small member that states facts; None: read them.
    """

    name: str
    is_file: bool
    start: int
    size: int
    content: bytes | None = None


class Header(tarfile.TarInfo):
    """A header that may be anybody's: `tarfile` reads long names and attributes whole."""

    def _proc_member(self, tarfile: Any) -> Any:
        if self.type in READ_WHOLE and self.size > MAX_FACTS:
            raise ValueError(f"a header of {self.size} bytes is more than {MAX_FACTS} bytes")
        return super()._proc_member(tarfile)  # type: ignore[misc]


def members_of(tar: Path, endings: Collection[str], lists: Path | None) -> Sequence[Member]:
    """Return the members of a tar file in its order.

    Args:
        tar: The file.
        endings: Those of members that state facts, whose content the list has if it is small.
        lists: Folder for lists; None: the tar file is read.

    Raises:
        UserError: It is no plain tar file.
    """
    if lists is None:
        return _read(tar)
    path = str(tar.absolute())
    stamp = stamp_of(path)
    facts = {"path": path, "stamp": str(stamp), "endings": str(sorted(endings))}
    file = lists / f"{digest(path)[:16]}.arrow"
    if (known := _listed(file, facts)) is not None:
        return known
    members = [_with_content(path, member, endings) for member in _read(tar)]
    if time.time_ns() - max(stamp[STAMP.index("mtime")], stamp[STAMP.index("ctime")]) > SETTLED:
        _write(file, facts, members)
    return members


def _read(tar: Path) -> list[Member]:
    try:
        return list(_headers(tar))
    except Exception as error:  # on damaged headers tarfile raises errors of many kinds
        raise UserError(
            f"{tar}: must be a tar file that is not compressed, got another ({reason_of(error)}); "
            "unpack it, and pack it with tar -cf"
        ) from error


def _headers(tar: Path) -> Iterator[Member]:
    end = -1
    with tarfile.open(tar, "r:", tarinfo=Header) as file:
        for member in file:
            if member.offset <= end:  # a header of negative size: read on, it would never end
                raise tarfile.ReadError(f"{member.name[:100]!r} lies before the one before it")
            end = member.offset
            if not member.isdir():
                is_file = member.isreg() and not member.issparse()
                yield Member(member.name, is_file, member.offset_data, member.size)


def _with_content(path: str, member: Member, endings: Collection[str]) -> Member:
    """Return the member with its content, if it is small and states facts."""
    ending = member.name.rpartition("/")[2].partition(".")[2].lower()
    if member.is_file and ending in endings and member.size <= MAX_KEPT:
        with suppress(OSError, ValueError):  # the tar file ends before it does: said by the reader
            content = read_bytes(reference_to(path, member.start, member.size))
            return member._replace(content=content)
    return member


def _listed(file: Path, facts: dict[str, str]) -> list[Member] | None:
    """Return the members that a list has; None without a list of such a tar file."""
    if not file.is_file():
        return None
    try:
        table = read_arrow(file, _schema(facts), check_metadata=True)
    except Exception:  # of damaged files pyarrow raises many kinds; the tar file is read again
        return None
    if table is None:
        return None
    columns = (table[name].to_pylist() for name in Member._fields)
    return [Member(*values) for values in zip(*columns, strict=True)]


def _write(file: Path, facts: dict[str, str], members: Sequence[Member]) -> None:
    """Write a list; OSError: a read-only folder is no obstacle, ValueError: names not in UTF-8."""
    import pyarrow as pa

    with suppress(OSError, ValueError):
        schema = _schema(facts)
        columns = zip(*members, strict=True) if members else [[]] * len(schema)
        pairs = zip(columns, schema, strict=True)
        arrays = [pa.array(values, kind.type) for values, kind in pairs]
        write_arrow(file, pa.Table.from_arrays(arrays, schema=schema))


def _schema(facts: dict[str, str]) -> Any:
    import pyarrow as pa

    types = (pa.string(), pa.bool_(), pa.int64(), pa.int64(), pa.binary())
    return pa.schema(dict(zip(Member._fields, types, strict=True)), facts)
