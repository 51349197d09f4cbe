"""The store against a dictionary: two owners fill, are killed, retry, damage, repair and delete.

Shards are joined, and rows that nobody needs are deleted, also by processes that are killed at it.
"""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from sip.core import progress
from sip.core.tars import read_checked
from sip.keeping.needs import Needs
from sip.keeping.prune import prune
from sip.store.claims import Claims
from sip.store.fill import Filled, fill
from sip.store.filling import Filling
from sip.store.order import compact
from sip.store.repair import repair
from sip.store.shards import read_columns
from sip.store.stage import FAILED, StageStore, Store
from sip.store.waiting import Waiting
from tests.store.killed import Killed

KEYS = [f"k{number}" for number in range(24)]
NO_PROCESS = 2**22 + 1
BATCH, SHARD = 2, 5
some_keys = st.lists(st.sampled_from(KEYS), min_size=1, unique=True)
owners = st.sampled_from([0, 1])
storages = st.sampled_from(["files", "webdataset"])
STEPS = ("rename", "replace", "link", "unlink")  # what changes the store


class Busy(Exception):
    """What is left is made by another owner."""


class Needed(Needs):
    """Needs that name the rows themselves."""

    def __init__(self, keys: set[str]) -> None:
        super().__init__()
        self.keys = keys

    def has(self, place: object, key: str, status: str | None) -> bool:
        return key in self.keys


class StoreMachine(RuleBasedStateMachine):
    """The store, and what must be in it.

    Attributes:
        shards: Name of a shard -> its keys and the status of each.
        broken: Keys whose rows fail when they are made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="sip-store-"))
        self.owners = [self.reopened(), self.reopened()]
        self.shards: dict[str, dict[str, str]] = {}
        self.broken: set[str] = set()

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    def reopened(self) -> StageStore:
        return Store(self.root).stage("toy", "square", {"v": 1})

    def status(self, key: str) -> str | None:
        """Return a key's status: a row that did not fail counts, wherever it is."""
        seen = {rows[key] for rows in self.shards.values() if key in rows}
        return "ok" if "ok" in seen else FAILED if seen else None

    def note_shards(self) -> list[str]:
        """Note the shards that are there now; return the keys of the new ones."""
        there = {path.name: path for path in self.owners[0].shards.glob("*")}
        new = there.keys() - self.shards.keys()
        for name in self.shards.keys() - there.keys():
            del self.shards[name]
        for name in new:
            columns = read_columns(there[name], ["key", "status"])
            self.shards[name] = dict(zip(columns["key"], columns["status"], strict=True))
        return [key for name in new for key in self.shards[name]]

    def row(self, key: str) -> dict:
        if key in self.broken:
            return {"key": key, "status": FAILED, "payload": None, "suffix": ".txt"}
        return {"key": key, "status": "ok", "payload": key.encode() * 3, "suffix": ".txt"}

    def fill(self, owner: int, keys: Sequence[str], during=lambda: None, **options) -> Filled:
        def make(batches: Iterator[list[str]], add) -> None:
            for batch in batches:
                for key in batch:
                    add(self.row(key))
                    during()

        wanted = dict(zip(keys, keys, strict=True))
        return fill(self.owners[owner], wanted, make, BATCH, SHARD, **options)

    @rule(owner=owners, keys=some_keys, retry=st.booleans(), storage=storages)
    def fill_all(self, owner: int, keys: list[str], retry: bool, storage: str) -> None:
        to_make = {None, FAILED} if retry else {None}
        missing = [key for key in keys if self.status(key) in to_make]
        filled = self.fill(owner, keys, retry_failed=retry, storage=storage)
        assert filled.computed == len(missing) and filled.cached == len(keys) - len(missing)
        assert sorted(self.note_shards()) == sorted(missing)
        assert list(filled.rows) == keys

    @rule(owner=owners, keys=some_keys, after=st.integers(1, 9), storage=storages)
    def kill(self, owner: int, keys: list[str], after: int, storage: str) -> None:
        missing = [key for key in keys if self.status(key) is None]
        left = iter(range(1, after))

        is_dead, commit = False, Filling.commit

        def until_dead(filling: Filling) -> None:
            if not is_dead:
                commit(filling)

        def die() -> None:
            nonlocal is_dead
            is_dead = next(left, None) is None
            if is_dead:
                raise Killed

        release = patch.object(Claims, "release", lambda claims: claims._stop.set())
        with patch.object(Filling, "commit", until_dead), release:
            try:
                self.fill(owner, keys, during=die, storage=storage)
            except Killed:
                made = after
            else:
                made = len(missing)
        for file in self.owners[owner].folder.glob("claims/*.json"):
            file.write_text(json.dumps(json.loads(file.read_text()) | {"pid": NO_PROCESS}))
        new = self.note_shards()
        assert set(new) <= set(missing) and len(new) == len(set(new))
        assert made - len(new) < SHARD + BATCH, "a kill costs at most the open shard"

    @rule(keys=some_keys, others=some_keys, after=st.integers(1, 9))
    def two_at_once(self, keys: list[str], others: list[str], after: int) -> None:
        """While one owner is at work, another one makes what is free, and nothing of the first."""
        missing = [key for key in keys if self.status(key) is None]
        left = iter(range(1, after))

        def during() -> None:
            if next(left, None) is None and not begun:
                begun.append(True)
                with patch.object(Waiting, "wait", side_effect=Busy):
                    try:
                        self.fill(1, others)
                    except Busy:
                        return

        begun: list[bool] = []
        self.fill(0, keys, during=during)
        new = self.note_shards()
        assert len(new) == len(set(new)), "a row was made twice"
        assert set(missing) <= set(new) <= {*missing, *others}

    @rule(data=st.data(), part=st.sampled_from(["rows", "file"]))
    def damage_and_repair(self, data: st.DataObject, part: str) -> None:
        files = {
            name: next(iter((self.owners[0].shards / name).glob("*.txt")), None)
            for name in sorted(self.shards)
        }
        names = [name for name, file in files.items() if part == "rows" or file]
        if not names:
            return
        name = data.draw(st.sampled_from(names))
        file = files[name] if part == "file" else self.owners[0].shards / name / "rows.parquet"
        assert file is not None
        content = bytearray(file.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        file.write_bytes(content)
        sound = {key for key in self.shards[name] if part == "file" and key != file.stem}
        assert repair(Store(self.root), 1) == 1
        assert set(self.note_shards()) == sound and name not in self.shards
        assert repair(Store(self.root), 1) == 0

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        if self.shards:
            name = data.draw(st.sampled_from(sorted(self.shards)))
            shutil.rmtree(self.owners[0].shards / name)
            del self.shards[name]

    @rule(size=st.integers(2, 12), after=st.integers(1, 40))
    def compact(self, size: int, after: int) -> None:
        """Small shards are joined, or the process dies at it before one of its steps."""
        before = {key: self.status(key) for key in KEYS}
        is_done = self.dying(after, lambda: compact(self.reopened().place, size))
        self.note_shards()
        assert {key: self.status(key) for key in KEYS} == before
        if is_done:
            counts = [len(rows) for rows in self.shards.values()]
            assert sum(num < size for num in counts) <= 2, "one of each storage may be left"
            assert sum(counts) == len([key for key in KEYS if before[key]]), "a row is there twice"

    @rule(keys=some_keys, after=st.integers(1, 40))
    def prune(self, keys: list[str], after: int) -> None:
        """All but some rows are deleted, or some of them, if the process dies at it."""
        before = {key: self.status(key) for key in KEYS}
        needed = {key for key in keys if before[key]}
        place = self.reopened().place
        is_done = self.dying(after, lambda: prune(place, Needed(needed), math.inf))
        self.note_shards()
        now = {key for key in KEYS if self.status(key)}
        assert all(self.status(key) == before[key] for key in now)
        assert needed == now if is_done else needed <= now

    def dying(self, after: int, work: Callable[[], object]) -> bool:
        """Let a process work that dies before one of its steps; return whether it got through."""
        left = iter(range(1, after))

        def before(step: Callable) -> Callable:
            def stepped(*arguments: object, **options: object) -> object:
                if next(left, None) is None:
                    raise Killed
                return step(*arguments, **options)

            return stepped

        steps = [patch.object(os, name, before(getattr(os, name))) for name in STEPS]
        release = patch.object(Claims, "release", lambda claims: claims._stop.set())
        with ExitStack() as patched:
            for each in (*steps, release):
                patched.enter_context(each)
            try:
                work()
            except Killed:
                is_through = False
            else:
                is_through = True
        for file in self.owners[0].folder.glob("claims/*.json"):
            file.write_text(json.dumps(json.loads(file.read_text()) | {"pid": NO_PROCESS}))
        return is_through

    @rule(keys=some_keys)
    def breaks(self, keys: list[str]) -> None:
        self.broken = set(keys[:4])

    @rule(owner=owners)
    def opens_again(self, owner: int) -> None:
        self.owners[owner] = self.reopened()

    @rule(text=st.sampled_from(["", "{", '{"v": 2}']))
    def loses_the_recipe(self, text: str) -> None:
        (self.owners[0].folder / "recipe.json").write_text(text)
        assert json.loads((self.reopened().folder / "recipe.json").read_text()) == {"v": 1}

    @invariant()
    def both_owners_see_what_is_there(self) -> None:
        expected = {key: status for key in KEYS if (status := self.status(key))}
        for owner in self.owners:
            assert sorted(owner.keys()) == sorted(expected)
            assert set(owner.failed(KEYS)) == {key for key, s in expected.items() if s == FAILED}
        rows = self.owners[0].read(KEYS)
        assert {key: row["status"] for key, row in rows.items()} == expected
        for key, row in rows.items():
            if row["status"] == "ok":
                assert read_checked(row["file"], row["file_sha256"]) == key.encode() * 3
            else:
                assert row["file"] is None


QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@pytest.mark.parametrize(
    ("num_runs", "num_steps"), [(6, 15), pytest.param(100, 100, marks=pytest.mark.slow)]
)
def test_the_store_is_a_dictionary(
    num_runs: int, num_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "is_first", False)  # nothing is printed
    run_state_machine_as_test(
        StoreMachine,
        settings=settings(
            max_examples=num_runs,
            stateful_step_count=num_steps,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=QUIET,
        ),
    )
