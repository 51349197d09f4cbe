"""What a disk has changed is found and set aside, and what is sound is kept."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from sip.core.errors import DamagedError, UserError
from sip.core.tars import read_bytes, read_checked, split_reference
from sip.store.fill import Add, fill
from sip.store.repair import check_retry, repair
from sip.store.room import Room, Store
from sip.store.shards import read_columns

KEYS = [f"k{number}" for number in range(6)]


def payload(key: str) -> bytes:
    return key.encode() * 300


@pytest.fixture(params=["files", "webdataset"])
def room(request: pytest.FixtureRequest, tmp_path: Path) -> Room:
    """A room of two shards of three rows, one of which failed."""

    def make(batches: Iterator[list[str]], add: Add) -> None:
        for key in (key for batch in batches for key in batch):
            failed = key == "k1"
            row = {"key": key, "label": int(key[1]), "status": "failed" if failed else "ok"}
            add(row | {"payload": None if failed else payload(key), "suffix": ".png"})

    made = Store(tmp_path).room("images", "toy", {"version": 1})
    fill(made, {key: key for key in KEYS}, make, 3, 3, storage=request.param)
    return made


def flip(file: Path, position: int) -> None:
    data = bytearray(file.read_bytes())
    data[position] ^= 4
    file.write_bytes(data)


def flip_payload(reference: str) -> None:
    parts = split_reference(reference)
    flip(Path(parts[0] if parts else reference), parts[1] + 7 if parts else 7)


def reopened(room: Room) -> Room:
    return Store(room.folder.parents[1]).room("images", "toy", {"version": 1})


def facts(room: Room) -> dict[str, dict]:
    """Return the rows by key, with their bytes in the place of where they lie."""
    rows = {}
    for key, row in room.read(KEYS).items():
        file = row.pop("file")
        rows[key] = row | {"data": read_bytes(file) if file else None}
    return rows


def test_a_sound_store_is_left_alone(room: Room, capsys: pytest.CaptureFixture) -> None:
    before = sorted(room.folder.rglob("*"))
    assert repair(room.folder.parents[1], 2) == 0
    assert sorted(room.folder.rglob("*")) == before
    assert "2 shards" in (said := capsys.readouterr().err) and "all sound" in said
    assert repair(room.folder / "nothing", 2) == 0


def test_a_damaged_picture_costs_itself_alone(room: Room, capsys: pytest.CaptureFixture) -> None:
    expected = facts(room)
    row = room.read(["k2"])["k2"]
    assert read_checked(row["file"], row["file_sha256"]) == payload("k2")
    flip_payload(row["file"])
    with pytest.raises(DamagedError, match="is damaged .its checksum.*retry=damaged"):
        read_checked(row["file"], row["file_sha256"])
    old = room.shard_of("k2")
    assert repair(room.folder.parents[1], 2) == 1
    assert facts(reopened(room)) == {key: row for key, row in expected.items() if key != "k2"}
    assert reopened(room).failed(KEYS) == ["k1"]
    assert (room.folder / "damaged" / old / "rows.parquet").is_file()
    assert "1 damaged, first" in (said := capsys.readouterr().err) and "2 sound rows kept" in said
    names = [Path(row["file"]).suffix for row in reopened(room).read(["k0"]).values()]
    assert names == [".png"] or split_reference(reopened(room).read(["k0"])["k0"]["file"])
    assert repair(room.folder.parents[1], 2) == 0


def test_damaged_rows_cost_their_shard(room: Room) -> None:
    shard = room.shards / room.shard_of("k4")
    flip(shard / "rows.parquet", (shard / "rows.parquet").stat().st_size // 3)
    with pytest.raises(DamagedError, match="its checksum is not the one .*retry=damaged"):
        reopened(room).keys()
    assert repair(room.folder.parents[1], 2) == 1
    assert reopened(room).keys() == KEYS[:3]
    assert list(reopened(room).missing(KEYS)) == KEYS[3:]


def test_every_byte_of_the_rows_counts(room: Room) -> None:
    file = room.shards / room.shard_of("k0") / "rows.parquet"
    whole = file.read_bytes()
    for position in range(0, len(whole), 97):
        flip(file, position)
        with pytest.raises(DamagedError):
            read_columns(file.parent, ["key"])
        file.write_bytes(whole)
    assert read_columns(file.parent, ["key"])["key"] == KEYS[:3]


def test_the_name_holds_the_hash_of_the_rows(room: Room) -> None:
    shard = room.shards / room.shard_of("k0")
    sha256 = hashlib.sha256((shard / "rows.parquet").read_bytes()).hexdigest()
    assert shard.name.endswith(f"-{sha256[:16]}")
    shard.rename(shard.with_name(f"{shard.name.split('-')[0]}-0123abcd"))
    with pytest.raises(DamagedError, match="its checksum is not the one"):
        reopened(room).keys()


def test_another_retry_is_refused() -> None:
    for value in (None, "failed", "damaged"):
        check_retry(value)
    with pytest.raises(UserError, match="must be null, failed or damaged, got 'all'"):
        check_retry("all")
