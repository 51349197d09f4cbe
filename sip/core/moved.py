"""Where files of the store went whose shard was joined with other ones, or lost some of its rows.

    <stage>/shards/<shard>/...      what a process that works, or the list of a run, still names
    <stage>/moved/<new>.json        shard -> pieces, for each shard that the new one takes over

Rows of such a shard are in the new one, byte for byte. A file has the same name there. In a tar
file, a piece (start, end, new start) says where bytes are now. A shard may be taken over again.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sip.core import objects
from sip.core.uri import Place, place_of

FOLDER = "moved"  # of a stage, next to `shards`
SUFFIX = ".json"
IN_SHARD = re.compile(r"(.+)/shards/([^/]+)/([^/]+)", re.DOTALL)
WHOLE = (".tar", ".parquet")  # files of a shard that are another shard's no longer
Pieces = list[tuple[int, int, int]]  # start, end and new start of bytes, as far as they were kept
Taken = Mapping[str, Pieces]  # shard -> pieces

_known: dict[str, dict[str, Taken]] = {}  # stage -> new shard -> what it takes over


def name(shard: str) -> str:
    """Return the name of the file that says what a shard takes over."""
    return f"{FOLDER}/{shard}{SUFFIX}"


def content(taken: Taken) -> bytes:
    """Return what that file holds."""
    return json.dumps(taken).encode()


def takeovers(stage: Place) -> dict[str, Taken]:
    """Return new shard -> what it takes over, as the files of a stage say now."""
    found: dict[str, Taken] = {}
    for file in _files(stage):
        with suppress(FileNotFoundError, ValueError, AttributeError):  # deleted, or garbled
            text = objects.read(file) if not isinstance(file, Path) else file.read_bytes()
            found[file.name.removesuffix(SUFFIX)] = dict(json.loads(text).items())
    return found


def places_of(path: str, offset: int | None = None) -> Iterator[tuple[str, int | None]]:
    """Yield where a file that is not there may be now; the last place first.

    Args:
        path: Path or URI of the file.
        offset: Where the bytes start that are read of a tar file; None for another file.
    """
    match = IN_SHARD.fullmatch(path)
    if not match or (offset is None and match[3].endswith(WHOLE)):
        return
    stage, shard, file = match.groups()
    for is_fresh in (False, True):  # what was read before may miss a later move
        known = takeovers(place_of(stage)) if is_fresh else _known.get(stage, {})
        _known[stage] = known
        for new, start in _follow(known, shard, offset, 0):
            yield f"{stage}/shards/{new}/{file}", start


def _follow(
    known: Mapping[str, Taken], shard: str, offset: int | None, depth: int
) -> Iterator[tuple[str, int | None]]:
    """Yield the shards that took a shard's file over, one after the other, the last one first."""
    for new, taken in known.items():
        if shard not in taken or depth > len(known):
            continue
        if offset is None:
            yield from _follow(known, new, None, depth + 1)
            yield new, None
            continue
        for start, end, new_start in taken[shard]:
            if start <= offset < end:
                moved = offset - start + new_start
                yield from _follow(known, new, moved, depth + 1)
                yield new, moved


def _files(stage: Place) -> list[Any]:
    if isinstance(stage, Path):
        folder = stage / FOLDER
        names = os.listdir(folder) if folder.is_dir() else []
        return [folder / name for name in sorted(names) if name.endswith(SUFFIX)]
    return [stage / FOLDER / there.name for there in objects.listing(stage / FOLDER)]
