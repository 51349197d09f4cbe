"""What a disk has changed after it was written: found, named, and made again on request.

Whatever reads rows or drawn pictures checks them against what was written (`sip.store.shards`,
`sip.core.tars.read_checked`) and stops where they differ. `retry=damaged` then checks the whole
store: a shard with damage is moved to the folder `damaged` of its room, its sound rows are kept in
a new shard, and the others are missing and thus made again, to the same bytes. What was moved is
never read again; look at it, and remove it.
"""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sip.core.errors import DamagedError, UserError
from sip.core.files import plain_disk_errors
from sip.core.progress import progress, say
from sip.core.tars import member_name, read_checked
from sip.store.claims import Claims
from sip.store.shards import ROWS_FILE, TAR_FILE, ShardWriter, read_columns, read_rows

RETRIES = (None, "failed", "damaged")
BAR_AFTER = 3.0  # s of checking until it shows a bar
FOLDER = "damaged"  # in a room, beside `shards`


@dataclass(frozen=True)
class Checked:
    """What was seen of a shard.

    Attributes:
        rows: Those that are sound, with "payload" and "suffix" where they have a file.
        num_bad: Rows whose file is damaged; None where the rows themselves are.
        damaged: The first damaged file; None: there is none.
        num_bytes: That were read of files.
    """

    rows: list[dict[str, Any]]
    num_bad: int | None
    damaged: str | None
    num_bytes: int


def check_retry(value: Any) -> None:
    """Check the setting `retry`.

    Raises:
        UserError: There is no such value.
    """
    if value not in RETRIES:
        raise UserError(f"retry: expected null, failed or damaged, came {value!r}")


def mend(store: Path, num_threads: int) -> int:
    """Check all finished shards of a store; set aside those with damage. Return their number.

    Args:
        store: Its folder; it need not be there.
        num_threads: That read and hash, a shard each.

    Raises:
        UserError: The disk cannot be written.
    """
    started = time.monotonic()
    shards = sorted(store.glob("*/*/shards/*"))
    damaged, num_bytes = [], 0
    bar = progress("check", len(shards), "shard", delay=BAR_AFTER)
    with closing(bar), ThreadPoolExecutor(num_threads, "check") as pool:
        for shard, seen in zip(shards, pool.map(_look, shards), strict=True):
            bar.update(1)
            num_bytes += seen.num_bytes
            if seen.damaged is not None:
                damaged.append(shard)
    for shard in damaged:
        _set_aside(shard)
    seconds = time.monotonic() - started
    did = f"{len(shards)} shards, {num_bytes / 1e9:.2f} GB of files in {seconds:.1f} s"
    say("check", f"{did}: {f'{len(damaged)} damaged' if damaged else 'all sound'}")
    return len(damaged)


def _look(shard: Path) -> Checked:
    """Check a shard; keep nothing of it in memory."""
    return check(shard, keep=False)


def check(shard: Path, keep: bool) -> Checked:
    """Compare a shard with what was written.

    Args:
        keep: Return the sound rows with their files' bytes.
    """
    rows: list[dict[str, Any]] = []
    num_bad, num_bytes, damaged = 0, 0, None
    try:
        for row in _rows(shard):
            try:
                data = read_checked(row["file"], row["file_sha256"]) if row.get("file") else None
            except DamagedError:
                num_bad, damaged = num_bad + 1, damaged or str(row["file"])
                continue
            num_bytes += len(data or b"")
            if keep:
                rows.append(_with_payload(row, data))
    except DamagedError:
        # One that another process has just set aside is nobody's damage.
        return Checked([], None, str(shard / ROWS_FILE) if shard.exists() else None, num_bytes)
    return Checked(rows, num_bad, damaged, num_bytes)


def _rows(shard: Path) -> Iterator[dict[str, Any]]:
    return read_rows(shard, {*read_columns(shard, ["key"])["key"]})


def _with_payload(row: dict[str, Any], data: bytes | None) -> dict[str, Any]:
    """Return a row as `ShardWriter.add` takes it."""
    if "file" not in row:
        return row
    stored = {name: value for name, value in row.items() if name not in ("file", "file_sha256")}
    suffix = Path(member_name(row["file"])).suffix if row["file"] else ""
    return {**stored, "payload": data, "suffix": suffix}


def _set_aside(shard: Path) -> None:
    """Move a damaged shard away, once its sound rows are in a new one."""
    room = shard.parents[1]
    claims = Claims(room / "claims")
    with plain_disk_errors(room):
        for part in ("tmp", "claims", FOLDER):
            (room / part).mkdir(exist_ok=True)
        with claims.locked():
            seen = check(shard, keep=True)
            if seen.damaged is None:  # another process was faster
                return
            if seen.rows:
                storage = "webdataset" if (shard / TAR_FILE).exists() else "files"
                writer = ShardWriter(room / "tmp", shard.parent, claims.owner, storage)
                for row in seen.rows:
                    writer.add(row)
                writer.commit([row["key"] for row in seen.rows])
            # Last, so that a kill before leaves sound rows twice and none of them nowhere.
            os.rename(shard, room / FOLDER / shard.name)
    say(
        room.parent.name,
        f"{seen.num_bad or 1} damaged, first {seen.damaged}; {len(seen.rows)} sound rows kept, the "
        f"others are made again; the old shard lies in {room / FOLDER / shard.name}",
    )
