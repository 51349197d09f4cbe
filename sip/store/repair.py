"""Find data that changed on the disk after it was written, and have it made again on request.

All reads of rows and generated images compare checksums (`sip.store.shards`,
`sip.core.tars.read_checked`) and stop if they differ. `retry=damaged` then checks the whole store:
a damaged shard is moved to the folder `damaged` of its stage, its sound rows are kept in a new
shard, and the other rows are missing and so made again, to the same bytes. Moved shards are never
read again; delete them after a look.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sip.core.errors import DamagedError, UserError
from sip.core.files import plain_disk_errors
from sip.core.progress import progress, say
from sip.core.tars import member_name, read_checked
from sip.core.text import counted
from sip.core.uri import Place
from sip.store.claims import readable
from sip.store.order import KEEPS
from sip.store.place import SHARDS, Owners, StagePlace
from sip.store.shards import ROWS_FILE, TAR_FILE, is_there, read_columns, read_rows
from sip.store.stage import Store
from sip.store.waiting import POLL_EVERY
from sip.store.writer import ShardWriter

RETRIES = (None, "failed", "damaged")
BAR_AFTER = 3.0  # s of checking before a progress bar is shown


@dataclass(frozen=True)
class Checked:
    """The outcome of checking one shard.

    Attributes:
        rows: Sound rows, with "payload" and "suffix" if they have a file.
        num_bad: Number of rows whose file is damaged; None if the rows themselves are.
        damaged: The first damaged file; None if there is none.
        num_bytes: Bytes of files that were read.
    """

    rows: list[dict[str, Any]]
    num_bad: int | None
    damaged: str | None
    num_bytes: int


def check_retry(value: Any) -> None:
    """Check the setting `retry`.

    Raises:
        UserError: It is not one of `RETRIES`.
    """
    if value not in RETRIES:
        raise UserError(f"retry: must be null, failed or damaged, got {value!r}")


@dataclass(frozen=True)
class Damage:
    """A damaged shard.

    Attributes:
        place: The place of its stage.
        shard: Its name.
        first: The first damaged file.
        num_bad: As in `Checked`.
    """

    place: StagePlace[Any]
    shard: str
    first: str
    num_bad: int | None

    @property
    def line(self) -> str:
        """The damage in words."""
        rows = "all its rows" if self.num_bad is None else counted(self.num_bad, "row")
        return f"{self.place.path}/{SHARDS}/{self.shard}: {rows} damaged, first {self.first}"


def verify(places: Sequence[StagePlace[Any]], num_threads: int) -> list[Damage]:
    """Compare all finished shards with their checksums; change nothing. Return the damaged ones.

    Args:
        places: Places of stages.
        num_threads: Threads that read and hash, one shard each.
    """
    started = time.monotonic()
    shards = [(place, name) for place in places for name in sorted(place.names())]
    damaged, num_bytes = [], 0
    bar = progress("check", len(shards), "shard", delay=BAR_AFTER)
    with closing(bar), ThreadPoolExecutor(num_threads, "check") as pool:
        looks = pool.map(_look, (place.shards / name for place, name in shards))
        for (place, name), seen in zip(shards, looks, strict=True):
            bar.update(1)
            num_bytes += seen.num_bytes
            if seen.damaged is not None:
                damaged.append(Damage(place, name, seen.damaged, seen.num_bad))
    seconds = time.monotonic() - started
    did = f"{counted(len(shards), 'shard')}, {num_bytes / 1e9:.2f} GB of files in {seconds:.1f} s"
    say("check", f"{did}: {f'{len(damaged)} damaged' if damaged else 'all sound'}")
    return damaged


def repair(store: Store, num_threads: int) -> int:
    """Check all finished shards of a store; set damaged ones aside. Return their number.

    Args:
        store: The store; its place may be missing.
        num_threads: As in `verify`.

    Raises:
        UserError: The store cannot be written.
    """
    damaged = verify(store.places(), num_threads)
    set_aside(damaged)
    return len(damaged)


def set_aside(damaged: Iterable[Damage]) -> None:
    """Move damaged shards away, each once its sound rows are in a new one.

    Raises:
        UserError: The store cannot be written.
    """
    for damage in damaged:
        _set_aside(damage.place, damage.shard)


def _look(shard: Place) -> Checked:
    """Check a shard; keep nothing of it in memory."""
    return check(shard, keep=False)


def check(shard: Place, keep: bool) -> Checked:
    """Compare a shard with its checksums.

    Args:
        shard: The place of the shard.
        keep: Whether to return the sound rows with the bytes of their files.
    """
    rows: list[dict[str, Any]] = []
    num_bad, num_bytes, damaged = 0, 0, None
    try:
        for row in _rows(shard):
            try:
                data = _content(row)
            except DamagedError:
                num_bad, damaged = num_bad + 1, damaged or str(row["file"])
                continue
            num_bytes += len(data or b"")
            if keep:
                rows.append(_with_payload(row, data))
    except DamagedError:
        return _checked(shard, Checked([], None, str(shard / ROWS_FILE), num_bytes))
    return _checked(shard, Checked(rows, num_bad, damaged, num_bytes))


def _checked(shard: Place, seen: Checked) -> Checked:
    """Return what was seen; a shard that was set aside, joined or deleted meanwhile is sound."""
    is_gone = seen.damaged is not None and not is_there(shard)
    return Checked([], None, None, seen.num_bytes) if is_gone else seen


def _rows(shard: Place) -> Iterator[dict[str, Any]]:
    """Yield all rows; of the store itself, whatever this machine has a copy of."""
    keys = read_columns(shard, ["key"], cached=False)["key"]
    return read_rows(shard, {*keys}, cached=False)


def _content(row: dict[str, Any]) -> bytes | None:
    """Return the file of a row; None if it has none."""
    if not row.get("file"):
        return None
    return read_checked(row["file"], row["file_sha256"], cached=False)


def _with_payload(row: dict[str, Any], data: bytes | None) -> dict[str, Any]:
    """Return a row in the form that `ShardWriter.add` takes."""
    if "file" not in row:
        return row
    stored = {name: value for name, value in row.items() if name not in ("file", "file_sha256")}
    suffix = Path(member_name(row["file"])).suffix if row["file"] else ""
    return {**stored, "payload": data, "suffix": suffix}


@contextmanager
def _claimed(place: StagePlace[Any], shard: str) -> Iterator[Owners]:
    """Hold the claim on setting a shard aside; wait for another process that does it."""
    key, claims, waits = f"{KEEPS}.{shard}", place.claims(), False
    try:
        while True:
            claims.look()
            with claims.locked():
                owner = claims.claimed().get(key)
                if owner is None and not claims.take([key]):
                    break
            if owner and not waits:
                waits = True
                say(place.stage, f"waiting for {readable(owner)}, which sets {shard} aside")
            time.sleep(POLL_EVERY)
        yield claims
    finally:
        claims.release()


def _set_aside(place: StagePlace[Any], shard: str) -> None:
    """Move a damaged shard away, once its sound rows are in a new one."""
    with plain_disk_errors(place.work):
        place.prepare()
        with _claimed(place, shard) as claims:
            seen = check(place.shards / shard, keep=True)
            if seen.damaged is None:  # another process was faster
                return
            if seen.rows:
                folder = place.shards / shard
                in_tar = isinstance(folder, Path) and (folder / TAR_FILE).exists()
                writer = ShardWriter(place, claims.owner, "webdataset" if in_tar else "files")
                for row in seen.rows:
                    writer.add(row)
                writer.commit([row["key"] for row in seen.rows])
            # Last: a kill before it leaves sound rows twice, and loses none.
            try:
                kept = place.set_aside(shard)
            except FileNotFoundError:  # another process took this one for dead, and did it
                return
    say(
        place.stage,
        f"{seen.num_bad or 1} damaged, first {seen.damaged}; {len(seen.rows)} sound rows kept, the "
        f"other ones are made again; the old shard is in {kept}",
    )
