"""Stages are copied between folders and buckets, one file after the other, and none twice."""

from pathlib import Path

import pytest

from sip.core.errors import UserError
from sip.store.copying import Copied, copy_stage
from sip.store.order import compact, keeping
from sip.store.repair import verify
from sip.store.stage import Store
from tests.keeping.made_up import KEYS, RECIPE, contents, made, opened, payload
from tests.store.killed import DEAD_THREADS, forget_claims, killed_at

WHOLE = {key: payload(key) for key in KEYS}


@pytest.fixture(params=["folder-folder", "folder-bucket", "bucket-folder", "files-bucket"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """A store with five shards of two rows, and an empty one."""
    kinds = request.param.split("-")
    source, target = str(tmp_path / "source"), str(tmp_path / "target")
    if "bucket" in kinds:
        bucket = str(request.getfixturevalue("bucket"))
        source, target = (bucket, target) if kinds[0] == "bucket" else (source, bucket)
    made(opened(source), storage="files" if kinds[0] == "files" else "webdataset")
    return source, target


def copied(source: str, target: str) -> list[Copied]:
    return list(copy_stage(opened(source).place, Store(target)))


def test_rows_are_copied_once(stores: tuple[str, str]) -> None:
    source, target = stores
    assert copied(source, target) == [Copied(2, 0)] * 5
    assert contents(opened(target)) == WHOLE == contents(opened(source))
    assert verify(Store(target).places(), 2) == []
    names = opened(target).place.names()
    assert copied(source, target) == [Copied(0, 2)] * 5
    assert opened(target).place.names() == names and made(opened(target)) == 0
    tmp = opened(target).tmp
    assert not list(tmp.iterdir())


def test_two_stores_become_one(stores: tuple[str, str]) -> None:
    source, target = stores
    made(opened(target), [*KEYS[3:6], "more"], failing=KEYS[5:6])
    sums = copied(source, target)
    assert (sum(c.rows for c in sums), sum(c.there for c in sums)) == (8, 2)
    assert contents(opened(target)) == WHOLE | {"more": payload("more")}
    stage = opened(target).place
    keys = [k for _, rows in stage.keys_of(sorted(stage.names())) for k, s in rows if s == "ok"]
    assert len(keys) == len(set(keys)) == 11, "none twice"
    assert verify(Store(target).places(), 2) == []


def test_failed_rows_replace_nothing(tmp_path: Path) -> None:
    source, target = str(tmp_path / "a"), str(tmp_path / "b")
    made(opened(source), KEYS[:2], failing=KEYS[:1])
    made(opened(target), KEYS[:1])
    assert copied(source, target) == [Copied(1, 1)]
    assert contents(opened(target)) == {key: payload(key) for key in KEYS[:2]}


@DEAD_THREADS
def test_killed_before_each_write_it_goes_on(stores: tuple[str, str]) -> None:
    source, target = stores
    opened(target)
    for number in range(1, 100):
        with killed_at(number) as was_killed:
            copied(source, target)
        forget_claims(opened(target))
        there = contents(opened(target))
        assert there == {key: WHOLE[key] for key in there}, f"killed before step {number}"
        if not was_killed():
            break
    assert 5 < number < 99
    copied(source, target)
    assert contents(opened(target)) == WHOLE
    states = opened(target).place
    assert sum(len(list(rows)) for _, rows in states.keys_of(sorted(states.names()))) == len(KEYS)


def test_what_is_damaged_is_left_out_and_named(tmp_path: Path) -> None:
    source, target = str(tmp_path / "a"), str(tmp_path / "b")
    made(opened(source))
    shard = sorted(opened(source).place.names())[2]
    file = tmp_path / "a" / opened(source).path / "shards" / shard / "images.tar"
    data = bytearray(file.read_bytes())
    data[600] ^= 1
    file.write_bytes(data)
    sums = copied(source, target)
    assert [c.rows for c in sums] == [2, 2, 0, 2, 2]
    assert sums[2].fault and shard in sums[2].fault and "damaged" in sums[2].fault
    assert len(contents(opened(target))) == 8 and not list(opened(target).tmp.iterdir())


def test_a_source_that_is_joined_meanwhile(tmp_path: Path) -> None:
    source, target = str(tmp_path / "a"), str(tmp_path / "b")
    made(opened(source))
    copying = copy_stage(opened(source).place, Store(target))
    next(copying)
    compact(opened(source).place, 100)
    faults = [c.fault for c in copying]
    assert all(fault and "start again" in fault for fault in faults) and len(faults) == 4
    assert copied(source, target) == [Copied(8, 2)]
    assert contents(opened(target)) == WHOLE


def test_another_recipe_or_another_process_is_refused(tmp_path: Path) -> None:
    source, target = str(tmp_path / "a"), str(tmp_path / "b")
    made(opened(source), KEYS[:2])
    with keeping(opened(target).place), pytest.raises(UserError, match="puts it in order"):
        copied(source, target)
    (tmp_path / "b" / opened(target).path / "recipe.json").write_text("{}")
    with pytest.raises(UserError, match=r"recipe.json: must be that of .*, got another"):
        copied(source, target)
    (tmp_path / "a" / opened(source, recipe=RECIPE).path / "recipe.json").unlink()
    place = Store(source).places()[0]
    with pytest.raises(UserError, match="must be a stage with its recipe.json, got none"):
        list(copy_stage(place, Store(target)))
