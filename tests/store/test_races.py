"""Shards are joined, pruned and sent while other processes do the same, or were killed at it."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sip.core import moved, object_cache, objects, tars
from sip.core.errors import UserError
from sip.core.tars import read_checked
from sip.core.uri import Uri
from sip.keeping import prune as pruning
from sip.keeping.prune import prune
from sip.store import order
from sip.store.bucket import Bucket
from sip.store.fill import fill
from sip.store.filling import Add
from sip.store.manifest import Manifest
from sip.store.order import compact, keeping, replace
from sip.store.repair import Damage, verify
from sip.store.stage import StageStore, Store
from sip.store.writer import ShardWriter
from tests.store.killed import Killed


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(objects, "REQUESTS", 1)


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "bucket":
        return str(request.getfixturevalue("bucket"))
    return str(tmp_path / "store")


def opened(place: str) -> StageStore:
    return Store(place).stage("images", "toy", {"version": 1})


def put(place: str, keys: Sequence[str], failing: Sequence[str] = (), salt: str = "") -> str:
    """Commit a shard; return its name."""
    stage = opened(place)
    stage.place.prepare()
    writer = ShardWriter(stage.place, "x-1-0", "webdataset")
    for key in keys:
        payload = None if key in failing else f"{key}{salt}".encode() * 99
        status = "failed" if key in failing else "ok"
        writer.add({"key": key, "status": status, "payload": payload, "suffix": ".txt"})
    writer.commit(list(keys))
    return writer.name


def keys_of(place: str) -> list[str]:
    return sorted(opened(place).keys())


class AllBut:
    """What runs need: all rows but one."""

    def __init__(self, key: str) -> None:
        self.key = key

    def has(self, place: object, key: str, status: str | None) -> bool:
        return key != self.key


def pruned(place: str, key: str) -> None:
    prune(opened(place).place, AllBut(key), time.time() + 60)  # type: ignore[arg-type]


def killed_at_removal(
    place: str, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]
) -> None:
    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(type(opened(place).place), "remove", die)
        act()


@pytest.mark.parametrize("salt", [str(number) for number in range(4)])  # names sort either way
def test_a_shard_that_a_killed_call_had_made_is_not_removed(
    place: str, monkeypatch: pytest.MonkeyPatch, salt: str
) -> None:
    put(place, ["k0", "k1"], ["k0"], salt)
    put(place, ["k2", "k3"], ["k2"], salt)
    put(place, ["k0", "k2", "k5", "k6"], (), salt)
    put(place, ["k4"], (), salt)
    killed_at_removal(place, monkeypatch, lambda: compact(opened(place).place, 2))
    compact(opened(place).place, 2)
    assert keys_of(place) == [f"k{number}" for number in range(7)]


def test_a_shard_of_the_same_rows_is_there_already(place: str) -> None:
    for failing in (["k0", "k1"], [], []):
        put(place, ["k0", "k1"], failing)
    assert compact(opened(place).place, 100) == (3, 1)
    assert keys_of(place) == ["k0", "k1"] and not opened(place).failed(["k0", "k1"])
    assert len(opened(place).place.names()) == 1 and not list(opened(place).tmp.iterdir())


@pytest.mark.parametrize("salt", [str(number) for number in range(4)])
def test_pruning_that_was_killed_goes_on(
    place: str, monkeypatch: pytest.MonkeyPatch, salt: str
) -> None:
    shard = put(place, ["k0", "k1"], (), salt)

    def lose_k0() -> None:
        with keeping(opened(place).place) as claims:
            replace(opened(place).place, claims.owner, [shard], {shard: ["k1"]})

    killed_at_removal(place, monkeypatch, lose_k0)
    pruned(place, "k0")
    assert keys_of(place) == ["k1"]


def test_nothing_is_deleted_once_a_process_works_on_the_stage(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(place, ["k0", "k1"])
    put(place, ["k0", "k2"])
    replaced, worker = [], opened(place).place.claims()

    def then_begun(*arguments: Any) -> str | None:
        name = replace(*arguments)
        replaced.append(name)
        with worker.locked():
            worker.claimed()
            worker.take(["k9"])
        return name

    monkeypatch.setattr(pruning, "replace", then_begun)
    monkeypatch.setattr(AllBut, "has", lambda self, place, key, status: key not in ("k1", "k2"))
    try:
        with pytest.raises(UserError, match="works on it; start again when it has ended"):
            pruned(place, "")
    finally:
        worker.release()
    assert len(replaced) == 1 and len(keys_of(place)) == 2


def test_an_entry_that_is_noted_late_costs_no_row(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = put(bucket, ["k0", "k1"])
    put(bucket, ["k2", "k3"])
    states = {shard: list(found) for shard, found in opened(bucket).place.keys_of([old])}
    compact(opened(bucket).place, 100)
    finish = order.finish

    def then_noted(place: Bucket, owner: str) -> None:
        finish(place, owner)
        Manifest(place.root).write(old, states[old])  # by a process that began before

    monkeypatch.setattr(order, "finish", then_noted)
    pruned(bucket, "k3")
    assert keys_of(bucket) == ["k0", "k1", "k2"]
    assert [*opened(bucket).read(["k0", "k1", "k2"])] == ["k0", "k1", "k2"]


def test_old_names_lead_on_though_a_joined_shard_is_sent_again(place: str) -> None:
    first = put(place, ["k0", "k1"])
    put(place, ["k2", "k3"])
    row = opened(place).read(["k2"])["k2"]
    shards = opened(place).shards
    if isinstance(shards, Uri):
        files = {each.name: objects.read(shards / first / each.name)
                 for each in objects.listing(shards / first)}  # fmt: skip
    else:
        files = {file.name: file.read_bytes() for file in (shards / first).iterdir()}
    compact(opened(place).place, 100)
    put(place, ["k4"])
    compact(opened(place).place, 100)
    for name, data in files.items():  # what a killed process could not send
        if isinstance(shards, Uri):
            objects.write(shards / first / name, data)
        else:
            (shards / first).mkdir(exist_ok=True)
            (shards / first / name).write_bytes(data)
    assert compact(opened(place).place, 1) == (0, 0)
    moved._known.clear()  # another process
    tars._open.cache_clear()
    assert read_checked(row["file"], row["file_sha256"]) == b"k2" * 99


def test_a_shard_that_is_joined_before_its_keys_are_read(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bucket, ["k0"])
    put(bucket, ["k1"])
    manifest = opened(bucket).place.root / "manifest"
    for each in objects.listing(manifest):  # a store that was copied without it
        objects.delete(manifest / each.name)
    late, listing, done = opened(bucket), objects.listing, list[str]()

    def then_joined(place: Uri) -> list[Any]:
        found = list(listing(place))
        if place == late.shards and not done:
            done.append("joined")
            compact(opened(bucket).place, 9)
        return found

    monkeypatch.setattr(objects, "listing", then_joined)
    assert list(late.missing(["k0", "k1", "k2"])) == ["k2"] and done


def test_a_shard_is_removed_here_while_another_process_opens_the_stage(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, adopt, removed = opened(bucket), object_cache.adopt, list[str]()

    def then_opened(place: Uri, file: Path) -> None:
        adopt(place, file)
        removed.append(file.name)
        other.place.look_again()
        other.refresh()  # sends what is not sent

    def make(batches: Iterator[list[str]], add: Add) -> None:
        for key in (key for batch in batches for key in batch):
            add({"key": key, "status": "ok", "payload": key.encode(), "suffix": ".txt"})

    monkeypatch.setattr(object_cache, "adopt", then_opened)
    assert fill(opened(bucket), {"k0": "k0"}, make, 1, 1).computed == 1
    assert removed == ["rows.parquet", "images.tar"]
    assert keys_of(bucket) == ["k0"] and not list((other.folder / "unsent").iterdir())


def test_a_shard_whose_removal_here_was_interrupted_is_not_sent_again(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(place: Uri, file: Path) -> None:
        if file.name != "rows.parquet":
            raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(object_cache, "adopt", die)
        put(bucket, ["k0", "k1"])
    stage = opened(bucket)
    (left,) = (stage.folder / "unsent").iterdir()
    assert [file.name for file in left.iterdir()] == ["images.tar"]
    objects.delete_below(stage.shards / left.name)  # pruned meanwhile
    assert keys_of(bucket) == [] and not left.exists()
    assert not list(objects.listing(stage.shards))


def test_a_shard_that_is_deleted_while_it_is_checked_is_not_damaged(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bucket, ["k0"])
    put(bucket, ["k1"])
    place, delete, found = opened(bucket).place, objects.delete_below, list[list[Damage]]()
    assert len(place.names()) == 2

    def then_checked(below: Uri) -> None:  # its rows are gone, its images are not
        if not found:
            found.append(verify([place], 1))
        delete(below)

    monkeypatch.setattr(objects, "delete_below", then_checked)
    assert compact(opened(bucket).place, 9) == (2, 1)
    assert found == [[]]


def test_shards_that_are_joined_while_they_are_copied(tmp_path: Path) -> None:
    place = str(tmp_path / "store")
    names = [put(place, ["k0"]), put(place, ["k1"])]
    shutil.rmtree(opened(place).place.shards / names[1])
    assert opened(place).place.are_tars(names) == [True, True]
