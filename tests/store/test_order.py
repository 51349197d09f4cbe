"""Small shards are joined: same rows, same bytes, whoever reads, writes or is killed meanwhile."""

import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sip.core import moved, tars
from sip.core.errors import DamagedError, UserError
from sip.core.tars import member_name, read_checked
from sip.core.uri import Uri
from sip.store.fill import fill
from sip.store.filling import Add, Filling
from sip.store.order import by_shard, compact, keeping, opened, replace
from sip.store.repair import repair
from sip.store.shards import read_rows, read_table
from sip.store.stage import StageStore, Store
from sip.store.writer import ShardWriter
from tests.store.killed import DEAD_THREADS, Killed, forget_claims, killed_at

KEYS = [f"k{number}" for number in range(11)]
FAILING = KEYS[3]


def stage_of(place: str | Path) -> StageStore:
    return Store(place).stage("images", "toy", {"version": 1})


def payload(key: str) -> bytes:
    return key.encode() * 300


def made(
    stage: StageStore,
    keys: Sequence[str] = KEYS,
    storage: str = "webdataset",
    during: Callable[[str], object] = lambda key: None,
    failing: Sequence[str] = (FAILING,),
    **options: bool,
) -> int:
    def make(batches: Iterator[list[str]], add: Add) -> None:
        for key in (key for batch in batches for key in batch):
            row = {"key": key, "status": "ok", "payload": payload(key), "suffix": ".png"}
            row |= {"words": ["a", key], "number": None if key < "k5" else 0.5}
            add(row | {"status": "failed", "payload": None} if key in failing else row)
            during(key)

    wanted = dict(zip(keys, keys, strict=True))
    return fill(stage, wanted, make, 1, 2, storage=storage, **options).computed


def facts(stage: StageStore) -> dict[str, dict]:
    """Return the rows by key, with their bytes and names in the place of where they lie."""
    rows = {}
    for key, row in stage.read(KEYS).items():
        file = row.pop("file")
        data = (read_checked(file, row["file_sha256"]), member_name(file)) if file else None
        rows[key] = row | {"data": data}
    return rows


def num_shards(place: str) -> int:
    return len(stage_of(place).place.names())


@pytest.fixture(params=["files", "webdataset", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A stage of six small shards, in which one row failed."""
    if request.param == "bucket":
        place = str(request.getfixturevalue("bucket"))
    else:
        place = str(tmp_path / "store")
    made(stage_of(place), storage="files" if request.param == "files" else "webdataset")
    return place


def test_small_shards_are_joined_and_rows_stay(place: str) -> None:
    before, old = facts(stage_of(place)), stage_of(place)
    files = {key: row["file"] for key, row in old.read(KEYS).items() if row["file"]}
    assert num_shards(place) == 6
    assert compact(stage_of(place).place, 5) == (6, 2)
    assert num_shards(place) == 2
    assert facts(stage_of(place)) == before and facts(old) == before
    new = stage_of(place)
    # Who has the old names, as a training that goes on, or the list of a run, still reads them.
    for key, file in files.items():
        assert read_checked(file, None) == payload(key) and member_name(file) == f"{key}.png"
    names = new.place.names()
    assert compact(stage_of(place).place, 5) == (0, 0) and stage_of(place).place.names() == names
    assert repair(Store(place), 1) == 0
    assert made(stage_of(place)) == 0


def test_vectors_keep_their_type(tmp_path: Path) -> None:
    stage = Store(tmp_path).stage("embeddings", "toy", {"version": 1})

    def make(batches: Iterator[list[str]], add: Add) -> None:
        for key in (key for batch in batches for key in batch):
            add({"key": key, "embedding": np.arange(3, dtype=np.float32) / 3})

    fill(stage, dict(zip(KEYS, KEYS, strict=True)), make, 1, 2)
    before = stage.read(KEYS)
    assert compact(stage.place, 100) == (6, 1)
    (shard,) = stage.place.names()
    schema = read_table(stage.shards / shard).schema
    assert schema.field("embedding").type == pa.list_(pa.float32())
    now = stage.read(KEYS)
    assert [list(r["embedding"]) for r in now.values()] == [
        list(r["embedding"]) for r in before.values()
    ]


def test_joined_again_and_old_names_still_lead_to_the_bytes(place: str) -> None:
    files = [row["file"] for row in stage_of(place).read(KEYS).values() if row["file"]]
    compact(stage_of(place).place, 4)
    more = [row["file"] for row in stage_of(place).read(KEYS).values() if row["file"]]
    assert read_checked(files[0], None) == payload("k0")  # what it read is older than the next
    assert compact(stage_of(place).place, 100) == (3, 1)
    for key, *names in zip([k for k in KEYS if k != FAILING], files, more, strict=True):
        assert [read_checked(name, None) for name in names] == [payload(key)] * 2
    with pytest.raises(DamagedError):
        read_checked(files[0].replace("shards/", "shards/9"), None)


def members_of(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers()}  # type: ignore[union-attr]


def test_tar_files_stay_what_webdataset_reads(tmp_path: Path) -> None:
    made(stage_of(tmp_path))
    old: dict[str, bytes] = {}
    for path in sorted(tmp_path.glob("images/*/shards/*/images.tar")):
        old |= members_of(path)
    compact(stage_of(tmp_path).place, 100)
    (path,) = tmp_path.glob("images/*/shards/*/images.tar")
    new = members_of(path)
    assert list(new) == list(old) and len(new) == 20 and new == old
    record = moved.takeovers(stage_of(tmp_path).place.root)
    (taken,) = record.values()
    assert len(taken) == 6
    assert all(len(pieces) <= 1 for pieces in taken.values()), "a piece a tar file, not one a row"


def test_a_reader_and_a_writer_go_on(place: str) -> None:
    reading, other = stage_of(place), stage_of(place)
    rows = reading.each(KEYS)
    first = next(rows)

    def during(key: str) -> None:
        if key == "n1":
            compact(stage_of(place).place, 5)

    new = [f"n{number}" for number in range(5)]
    assert made(other, [*KEYS, *new], during=during) == 5
    assert [first["key"], *(row["key"] for row in rows)] == KEYS
    assert sorted(stage_of(place).keys()) == sorted([*KEYS, *new])
    assert made(stage_of(place), [*KEYS, *new]) == 0
    compact(stage_of(place).place, 5)
    assert read_checked(first["file"], first["file_sha256"]) == payload("k0")


def test_a_shard_that_goes_while_shards_are_listed(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, done = stage_of(place), list[str]()
    names = type(stage.place).names

    def then_joined(place_: object) -> set[str]:
        found = names(place_)  # type: ignore[arg-type]
        if place_ is stage.place and not done:
            done.append("joined")
            compact(stage_of(place).place, 5)
            if isinstance(stage.place.root, Uri):
                stage.place.manifest.entries.clear()  # as if none had been read
        return found

    monkeypatch.setattr(type(stage.place), "names", then_joined)
    assert sorted(stage.keys()) == sorted(KEYS) and done


@pytest.mark.parametrize("when", ["at the start", "later"])
def test_a_list_that_lacks_old_and_new_shards_is_made_again(
    place: str, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    stage, done = stage_of(place), list[str]()
    names = type(stage.place).names
    if when == "later":
        assert len(stage.keys()) == len(KEYS)

    def lacking(place_: object) -> set[str]:
        found = names(place_)  # type: ignore[arg-type]
        if place_ is stage.place and len(done) < (2 if when == "later" else 1):
            done.append("lacking")
            return found - {max(found)}
        return found

    monkeypatch.setattr(type(stage.place), "names", lacking)
    assert not list(stage.missing(KEYS)) and done


@DEAD_THREADS
def test_killed_before_each_write(place: str, tmp_path: Path) -> None:
    expected = facts(stage_of(place))
    for number in range(1, 200):
        with killed_at(number) as was_killed:
            compact(stage_of(place).place, 5)
        forget_claims(stage_of(place))
        assert facts(stage_of(place)) == expected, f"killed before step {number}"
        if not was_killed():
            break
    assert 5 < number < 199
    compact(stage_of(place).place, 5)
    stage = stage_of(place)
    assert num_shards(place) == 2 and facts(stage) == expected
    rows = [len(keys) for keys in by_shard(opened(stage.place)).values()]
    assert sum(rows) == len(KEYS)
    assert not list(stage.tmp.iterdir()) and stage.place.parts() == stage.place.names()
    assert repair(Store(place), 1) == 0


def test_one_at_a_time(place: str) -> None:
    with (
        keeping(stage_of(place).place),
        pytest.raises(UserError, match=r"process \d+ on .* puts it in order"),
    ):
        compact(stage_of(place).place, 5)
    assert compact(stage_of(place).place, 5) == (6, 2)


def test_a_row_that_was_made_again_is_kept_and_not_the_failed_one(place: str) -> None:
    assert made(stage_of(place), failing=(), retry_failed=True) == 1
    expected = facts(stage_of(place))
    assert expected[FAILING]["status"] == "ok"
    compact(stage_of(place).place, 100)
    assert facts(stage_of(place)) == expected
    assert sum(row["key"] == FAILING for row in all_rows(stage_of(place))) == 1


def all_rows(stage: StageStore) -> list[dict]:
    return [
        row for shard in stage.place.names() for row in read_table(stage.shards / shard).to_pylist()
    ]


def test_a_damaged_shard_stops_its_group_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = stage_of(tmp_path)
    made(stage)
    stage.refresh()
    tar = tmp_path / stage.path / "shards" / stage.shard_of("k0") / "images.tar"
    content = bytearray(tar.read_bytes())
    content[700] ^= 1
    tar.write_bytes(content)
    names = stage.place.names()
    assert compact(stage_of(tmp_path).place, 5) == (3, 1)
    assert "3 shards are left as they are" in (said := capsys.readouterr().err) and "repair" in said
    assert len(stage_of(tmp_path).place.names() & names) == 3
    assert not list(stage.tmp.iterdir())


def test_rows_that_are_not_kept_are_gone_and_the_other_ones_are_led_to(place: str) -> None:
    before = {key: row["file"] for key, row in stage_of(place).read(KEYS).items()}
    stage = opened(stage_of(place).place)
    shard = stage.shard_of("k0")
    with keeping(stage.place) as claims:
        assert replace(stage.place, claims.owner, [shard], {shard: ["k1"]})
        other = stage.shard_of("k10")
        assert replace(stage.place, claims.owner, [other], {other: []}) is None
    assert set(stage_of(place).keys()) == set(KEYS) - {"k0", "k10"}
    assert read_checked(before["k1"], None) == payload("k1")
    tars._open.cache_clear()  # else this process still holds the file
    for key in ("k0", "k10"):
        with pytest.raises(DamagedError):
            read_checked(before[key], None)
    assert made(stage_of(place)) == 2


def test_a_shard_that_was_to_lose_rows_stays_if_the_process_died(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = opened(stage_of(place).place)
    shard = stage.shard_of("k0")
    with monkeypatch.context() as patched, keeping(stage.place) as claims:
        patched.setattr(type(stage.place), "remove", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            replace(stage.place, claims.owner, [shard], {shard: ["k1"]})
    compact(stage_of(place).place, 2)
    assert set(stage_of(place).keys()) == set(KEYS), "a run may have used the row meanwhile"


def put(
    place: str,
    keys: Sequence[str],
    content: Callable[[str], bytes] = payload,
    failing: Sequence[str] = (),
) -> dict:
    """Commit a shard, whatever is there, as a worker that claims nothing; return its rows."""
    stage = stage_of(place)
    stage.place.prepare()
    in_tar = stage.place.are_tars(sorted(stage.place.names()))[0]
    writer = ShardWriter(stage.place, "unclaimed-x", "webdataset" if in_tar else "files")
    for key in keys:
        row = {"key": key, "status": "ok", "payload": content(key), "suffix": ".png"}
        row |= {"words": ["a", key], "number": None}
        writer.add(row | {"status": "failed", "payload": None} if key in failing else row)
    writer.commit(list(keys))
    return {row["key"]: row for row in read_rows(stage.shards / writer.name, {*keys})}


def led_on(rows: dict[str, dict]) -> bool:
    """Return whether the bytes of rows are found by their names, though no file is still open."""
    tars._open.cache_clear()
    return all(
        read_checked(row["file"], row["file_sha256"]) == payload(key)
        and member_name(row["file"]) == f"{key}.png"
        for key, row in rows.items()
    )


def counts(place: str) -> dict[str, int]:
    return Counter(row["key"] for row in all_rows(stage_of(place)))


def test_who_names_the_other_copy_of_a_row_is_led_to_the_one_that_stays(place: str) -> None:
    rows = put(place, ["k9", "n0", "k1"])
    more = put(place, ["k1", "k9"])
    compact(stage_of(place).place, 100)
    assert counts(place) == dict.fromkeys([*KEYS, "n0"], 1)
    assert led_on(rows) and led_on(more)
    put(place, ["n1"])
    compact(stage_of(place).place, 100)
    assert num_shards(place) == 1 and led_on(rows) and led_on(more)


def test_nobody_is_led_to_other_bytes(place: str) -> None:
    rows = put(place, ["k1", "n0"], lambda key: b"other" if key == "k1" else payload(key))
    compact(stage_of(place).place, 100)
    tars._open.cache_clear()
    assert facts(stage_of(place))["k1"]["data"][0] == payload("k1")
    file = rows.pop("k1")
    # A file of its own has the same name there, and another checksum.
    sha256 = None if tars.split_reference(file["file"]) else file["file_sha256"]
    with pytest.raises(DamagedError):
        read_checked(file["file"], sha256)
    assert led_on(rows)


def test_a_copy_stays_if_the_other_one_is_in_a_shard_that_is_left_as_it_is(place: str) -> None:
    compact(stage_of(place).place, 5)
    before, large = facts(stage_of(place)), stage_of(place).place.names()
    copies = [put(place, ["k1", "n0", "k9"]), put(place, ["k9", "n1"]), put(place, ["n2"])]
    assert compact(stage_of(place).place, 5) == (3, 1)
    assert large < stage_of(place).place.names() and facts(stage_of(place)) == before
    assert counts(place) == dict.fromkeys([*KEYS, "n0", "n1", "n2"], 1) | {"k1": 2, "k9": 2}
    assert all(map(led_on, copies))
    assert compact(stage_of(place).place, 5) == (0, 0)
    assert compact(stage_of(place).place, 100) == (3, 1)
    assert set(counts(place).values()) == {1} and facts(stage_of(place)) == before
    assert all(map(led_on, copies))


@pytest.mark.parametrize("place", ["webdataset"], indirect=True)
def test_the_copy_that_counts_may_be_in_the_later_shard(place: str) -> None:
    old, rows = stage_of(place).read(["k0", "k1"]), put(place, ["k1", "n0"])
    stage = opened(stage_of(place).place)
    first, last = stage.shard_of("k1"), stage.shard_of("n0")
    keep = {first: ["k0"], last: ["k1", "n0"]}
    with keeping(stage.place) as claims:
        replace(stage.place, claims.owner, [first, last], keep, keep_named=True)
    assert set(counts(place).values()) == {1} and led_on(rows) and led_on(old)


def test_a_killed_compaction_of_copies_is_finished(place: str) -> None:
    rows = put(place, ["k1", "n0"])
    with pytest.MonkeyPatch.context() as patched, pytest.raises(Killed):
        patched.setattr(
            type(stage_of(place).place), "remove", lambda *_: (_ for _ in ()).throw(Killed)
        )
        compact(stage_of(place).place, 100)
    compact(stage_of(place).place, 100)
    assert num_shards(place) == 1 and led_on(rows)


in_tars = pytest.mark.parametrize("place", ["webdataset", "bucket"], indirect=True)


@in_tars
def test_failed_rows_are_made_again_though_they_are_joined(place: str) -> None:
    new = [f"n{number}" for number in range(3)]
    made(stage_of(place), new, failing=new)
    asked: list[str] = []

    def during(key: str) -> None:
        asked.append(key)
        compact(stage_of(place).place, 100)

    keys = [*KEYS, *new]
    assert made(stage_of(place), keys, during=during, failing=(), retry_failed=True) == 4
    assert sorted(asked) == [FAILING, *new] and not stage_of(place).failed(keys)


@in_tars
def test_a_row_that_was_made_again_counts_though_it_is_joined(place: str) -> None:
    stage, new = stage_of(place), ["n0", "n1"]
    made(stage, new, failing=new)
    wanted = dict.fromkeys([FAILING, *new], "")
    filling = Filling(stage, wanted, [[FAILING], new], 2, "webdataset", retry_failed=True)
    assert list(filling.batches) == [[FAILING], new]
    assert made(stage_of(place), retry_failed=True) == 1  # another process, in vain
    filling.refresh()
    assert filling.missing([FAILING, *new]) == new
    with filling.begun("images", "image"):
        filling.open.claim([["n0"]])
        filling.add({"key": "n0", "status": "failed", "payload": None, "suffix": ".png"})
        filling.commit()
    assert made(stage_of(place), ["n1"], failing=(), retry_failed=True) == 1
    compact(stage_of(place).place, 100)
    filling.refresh()
    assert filling.missing([FAILING, *new]) == [] and stage.failed(wanted) == [FAILING, "n0"]


def test_a_reader_goes_on_though_another_call_has_looked_meanwhile(place: str) -> None:
    reading = stage_of(place)
    rows = reading.each(KEYS)
    next(rows)
    compact(stage_of(place).place, 5)
    reading.place.look_again()
    reading.refresh()
    assert [row["key"] for row in rows] == KEYS[1:]


def lose(place: str, key: str, kept: list[str]) -> None:
    """Delete a row; others of its shard are kept."""
    stage = opened(stage_of(place).place)
    shard = stage.shard_of(key)
    with keeping(stage.place) as claims:
        replace(stage.place, claims.owner, [shard], {shard: kept})


@pytest.mark.parametrize("place", ["webdataset"], indirect=True)
def test_a_reader_goes_on_to_the_other_copy_of_a_row_that_is_deleted(place: str) -> None:
    put(place, ["k9", "n0"])
    rows = stage_of(place).each(["k0", "k9", "n0"])
    next(rows)
    lose(place, "k9", ["k8"])
    assert [row["key"] for row in rows] == ["k9", "n0"]


def test_a_row_that_is_deleted_while_it_is_to_be_read_is_one_line(place: str) -> None:
    rows = stage_of(place).each(KEYS)
    next(rows)
    lose(place, "k4", ["k5"])
    with pytest.raises(UserError, match=r"/toy-\w+: must hold the row k4, .*start the same"):
        list(rows)


@in_tars
def test_what_led_to_a_shard_still_does_if_the_rest_of_its_group_has_no_rows_left(
    place: str,
) -> None:
    many = [f"a{number}" for number in range(4)]
    stage = stage_of(place)
    rows = stage.read(["k8", "k10"])
    time = int(min(stage.names).partition("-")[0])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sip.store.writer.time.time_ns", lambda: time - 1)
        put(place, many, failing=many)
    assert compact(stage_of(place).place, 4) == (6, 3)
    last = stage_of(place).read(["k8"])["k8"]["file"]
    put(place, many)
    assert compact(stage_of(place).place, 4) == (2, 1)
    assert stage_of(place).read(["k8"])["k8"]["file"] == last and led_on(rows)
