"""What a disk has changed is found and set aside, and what is sound is kept."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from sip.core.errors import DamagedError, UserError
from sip.core.tars import read_bytes, read_checked, split_reference
from sip.store.fill import fill
from sip.store.filling import Add
from sip.store.repair import check_retry, repair
from sip.store.shards import read_columns
from sip.store.stage import StageStore, Store

KEYS = [f"k{number}" for number in range(6)]


def payload(key: str) -> bytes:
    return key.encode() * 300


@pytest.fixture(params=["files", "webdataset"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> StageStore:
    """A stage of two shards of three rows, one of which failed."""

    def make(batches: Iterator[list[str]], add: Add) -> None:
        for key in (key for batch in batches for key in batch):
            failed = key == "k1"
            row = {"key": key, "label": int(key[1]), "status": "failed" if failed else "ok"}
            add(row | {"payload": None if failed else payload(key), "suffix": ".png"})

    made = Store(tmp_path).stage("images", "toy", {"version": 1})
    fill(made, {key: key for key in KEYS}, make, 3, 3, storage=request.param)
    return made


def flip(file: Path, position: int) -> None:
    data = bytearray(file.read_bytes())
    data[position] ^= 4
    file.write_bytes(data)


def flip_payload(reference: str) -> None:
    parts = split_reference(reference)
    flip(Path(parts[0] if parts else reference), parts[1] + 7 if parts else 7)


def reopened(stage: StageStore) -> StageStore:
    return Store(stage.folder.parents[1]).stage("images", "toy", {"version": 1})


def facts(stage: StageStore) -> dict[str, dict]:
    """Return the rows by key, with their bytes in the place of where they lie."""
    rows = {}
    for key, row in stage.read(KEYS).items():
        file = row.pop("file")
        rows[key] = row | {"data": read_bytes(file) if file else None}
    return rows


def test_a_sound_store_is_left_alone(stage: StageStore, capsys: pytest.CaptureFixture) -> None:
    before = sorted(stage.folder.rglob("*"))
    assert repair(Store(stage.folder.parents[1]), 2) == 0
    assert sorted(stage.folder.rglob("*")) == before
    assert "2 shards" in (said := capsys.readouterr().err) and "all sound" in said
    assert repair(Store(stage.folder / "nothing"), 2) == 0


def test_a_damaged_image_costs_itself_alone(
    stage: StageStore, capsys: pytest.CaptureFixture
) -> None:
    expected = facts(stage)
    row = stage.read(["k2"])["k2"]
    assert read_checked(row["file"], row["file_sha256"]) == payload("k2")
    flip_payload(row["file"])
    with pytest.raises(DamagedError, match="is damaged .its checksum.*retry=damaged"):
        read_checked(row["file"], row["file_sha256"])
    old = stage.shard_of("k2")
    assert repair(Store(stage.folder.parents[1]), 2) == 1
    assert facts(reopened(stage)) == {key: row for key, row in expected.items() if key != "k2"}
    assert reopened(stage).failed(KEYS) == ["k1"]
    assert (stage.folder / "damaged" / old / "rows.parquet").is_file()
    assert "1 damaged, first" in (said := capsys.readouterr().err) and "2 sound rows kept" in said
    names = [Path(row["file"]).suffix for row in reopened(stage).read(["k0"]).values()]
    assert names == [".png"] or split_reference(reopened(stage).read(["k0"])["k0"]["file"])
    assert repair(Store(stage.folder.parents[1]), 2) == 0


def test_damaged_rows_cost_their_shard(stage: StageStore) -> None:
    shard = stage.shards / stage.shard_of("k4")
    flip(shard / "rows.parquet", (shard / "rows.parquet").stat().st_size // 3)
    with pytest.raises(DamagedError, match="its checksum is not the one .*retry=damaged"):
        reopened(stage).keys()
    assert repair(Store(stage.folder.parents[1]), 2) == 1
    assert reopened(stage).keys() == KEYS[:3]
    assert list(reopened(stage).missing(KEYS)) == KEYS[3:]


def test_every_byte_of_the_rows_counts(stage: StageStore) -> None:
    file = stage.shards / stage.shard_of("k0") / "rows.parquet"
    whole = file.read_bytes()
    for position in range(0, len(whole), 97):
        flip(file, position)
        with pytest.raises(DamagedError):
            read_columns(file.parent, ["key"])
        file.write_bytes(whole)
    assert read_columns(file.parent, ["key"])["key"] == KEYS[:3]


def test_the_name_holds_the_hash_of_the_rows(stage: StageStore) -> None:
    shard = stage.shards / stage.shard_of("k0")
    sha256 = hashlib.sha256((shard / "rows.parquet").read_bytes()).hexdigest()
    assert shard.name.endswith(f"-{sha256[:16]}")
    shard.rename(shard.with_name(f"{shard.name.split('-')[0]}-0123abcd"))
    with pytest.raises(DamagedError, match="its checksum is not the one"):
        reopened(stage).keys()


def test_another_retry_is_refused() -> None:
    for value in (None, "failed", "damaged"):
        check_retry(value)
    with pytest.raises(UserError, match="must be null, failed or damaged, got 'all'"):
        check_retry("all")
