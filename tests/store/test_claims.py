"""Claims are read before the lock is taken, and under it only if they changed since."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import sip.store.claims as claims_module
import sip.store.filling as filling_module
from sip.store.claims import Claims
from sip.store.fill import fill
from sip.store.filling import Add
from sip.store.stage import StageStore, Store


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Claims, Claims]]:
    two = Claims(tmp_path), Claims(tmp_path)
    yield two
    for claims in two:
        claims.release()


def take(claims: Claims, *keys: str) -> None:
    with claims.locked():
        claims.take(list(keys))


def test_each_claim_counts_until_the_next_one(two: tuple[Claims, Claims]) -> None:
    first, second = two
    for number, keys in enumerate([("a", "b"), ("b", "c"), ("d",)], 1):
        take(second, *keys)
        first.look()
        with first.locked():
            assert first.is_current()
            assert first.claimed() == dict.fromkeys(keys, second.owner)
        assert first.number_of(second.owner) == number
        assert [file.name for file in first.folder.glob("*.json")] == [
            first.file_of(second.owner).name
        ]
    second.release()
    with first.locked():
        assert first.claimed() == {}


def test_what_changes_between_look_and_lock_is_seen(two: tuple[Claims, Claims]) -> None:
    first, second = two
    for change in (lambda: take(second, "a"), lambda: take(second, "b"), second.release):
        first.look()
        change()
        with first.locked():
            assert not first.is_current()
            assert list(first.claimed()) == second._held


def test_nothing_is_read_under_the_lock_if_nothing_changed(
    two: tuple[Claims, Claims], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two
    take(second, "a")
    first.look()
    monkeypatch.setattr(os, "listdir", None)
    with first.locked():
        assert list(first.claimed()) == ["a"]


def test_a_claim_is_read_once(two: tuple[Claims, Claims], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = two
    take(second, "a")
    first.look()
    monkeypatch.setattr(claims_module.json, "loads", None)
    first.look()
    with first.locked():
        assert list(first.claimed()) == ["a"]


def test_a_key_of_two_owners_stays_claimed_until_both_release_it(tmp_path: Path) -> None:
    looker, first, second = (Claims(tmp_path) for _ in range(3))
    take(first, "a", "b")
    take(second, "a", "c")  # it took the first one for dead
    looker.look()
    first.release()
    with looker.locked():
        assert looker.claimed() == dict.fromkeys("ac", second.owner)
    second.release()
    with looker.locked():
        assert looker.claimed() == {}


def test_a_claim_removed_by_hand_is_free_at_the_next_look(two: tuple[Claims, Claims]) -> None:
    first, second = two
    take(second, "a")
    first.look()
    first.file_of(second.owner).unlink()
    first.look()
    with first.locked():
        assert first.is_current() and first.claimed() == {}


def test_a_garbled_claim_is_removed(two: tuple[Claims, Claims]) -> None:
    first, second = two
    take(second, "a")
    file = next(first.folder.glob("*.json"))
    file.write_text("{")
    first.look()
    with first.locked():
        assert first.claimed() == {}
    assert not file.exists()


def test_who_dies_is_forgotten_and_the_others_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, dead = (Claims(tmp_path) for _ in range(3))
    with monkeypatch.context() as patched:
        patched.setattr(claims_module, "start_time", lambda pid: "before")
        take(dead, "a")
    second.look()
    first.look()
    with first.locked():
        assert first.claimed() == {}
    assert not list(tmp_path.glob("*.json"))
    with second.locked():
        assert not second.is_current() and second.claimed() == {}


@pytest.fixture
def stage(tmp_path: Path) -> StageStore:
    return Store(tmp_path).stage("toy", "square", {"v": 1})


def make(batches: Iterator[list[int]], add: Add) -> None:
    for batch in batches:
        for number in batch:
            add({"key": f"k{number}"})


def test_shards_are_listed_under_the_lock_only_if_claims_changed(
    stage: StageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {f"k{number}": number for number in range(6)}
    listed: list[bool] = []
    is_locked = False
    locked, refresh = Claims.locked, StageStore.refresh

    @contextmanager
    def noted(claims: Claims) -> Iterator[None]:
        nonlocal is_locked
        with locked(claims):
            is_locked = True
            yield
            is_locked = False

    def list_shards(stage: StageStore) -> None:
        listed.append(is_locked)
        refresh(stage)

    monkeypatch.setattr(Claims, "locked", noted)
    monkeypatch.setattr(StageStore, "refresh", list_shards)
    assert fill(stage, wanted, make, 1, shard_size=2).computed == 6
    assert listed.count(True) <= 1  # before the first claim there is nothing to compare with


def test_rows_that_another_commits_between_look_and_lock_are_not_computed_twice(
    stage: StageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {f"k{number}": number for number in range(4)}
    locked = Claims.locked
    other = Store(tmp_path).stage("toy", "square", {"v": 1})

    def after_another(claims: Claims) -> object:
        monkeypatch.setattr(Claims, "locked", locked)
        assert fill(other, wanted, make, 2, shard_size=2).computed == 4
        return locked(claims)

    monkeypatch.setattr(Claims, "locked", after_another)
    filled = fill(stage, wanted, make, 2, shard_size=2)
    assert (filled.computed, filled.waited) == (0, 4)


@pytest.mark.parametrize(
    ("num_others", "sizes"), [(0, [100, 75, 64, 64, 64, 33]), (3, [64] * 6 + [16])]
)
def test_claims_become_smaller_towards_the_end(
    stage: StageStore, monkeypatch: pytest.MonkeyPatch, num_others: int, sizes: list[int]
) -> None:
    owners = set(map(str, range(num_others)))
    monkeypatch.setattr(Claims, "owners", lambda claims: {claims.owner, *owners})
    taken: list[int] = []

    take = Claims.take

    def take_noted(claims: Claims, keys: list[str]) -> None:
        taken.append(len(keys))
        take(claims, keys)

    monkeypatch.setattr(Claims, "take", take_noted)
    wanted = {f"k{number}": number for number in range(400)}
    fill(stage, wanted, make, 1, shard_size=512)
    # Uncommitted rows stay claimed, so that each claim holds those before it.
    assert [b - a for a, b in zip([0, *taken], taken, strict=False)] == sizes
    assert len(list(stage.shards.iterdir())) == 1


@pytest.mark.parametrize(("every", "num_shards"), [(0.0, 4), (60.0, 1)])
def test_a_shard_is_committed_after_some_time(
    stage: StageStore, monkeypatch: pytest.MonkeyPatch, every: float, num_shards: int
) -> None:
    monkeypatch.setattr(filling_module, "COMMIT_EVERY", every)
    numbers: list[int] = []
    take = Claims.take

    def noted(claims: Claims, keys: list[str]) -> None:
        take(claims, keys)
        numbers.append(len(keys))

    monkeypatch.setattr(Claims, "take", noted)
    wanted = {f"k{number}": number for number in range(12)}
    assert fill(stage, wanted, make, 3, shard_size=512).computed == 12
    assert len(list(stage.shards.iterdir())) == num_shards
    assert numbers == ([12, 9, 6, 3] if num_shards == 4 else [12])  # the rest is claimed again
    assert [file.name for file in (stage.folder / "claims").iterdir()] == ["lock"]
