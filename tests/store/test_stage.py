"""The store: rows are computed once and read from then on, whatever happens in between."""

import errno
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import sip
from sip.core import files
from sip.core.errors import UserError
from sip.store import claims as claims_module
from sip.store import stage as stage_module
from sip.store import waiting
from sip.store.claims import Claim
from sip.store.fill import Filled
from sip.store.fill import fill as fill_stage
from sip.store.filling import Add, Filling
from sip.store.shards import read_columns, read_rows, to_table
from sip.store.stage import StageStore, Store

RECIPE = {"class": "sip.toy.Square", "version": 1, "weights": {"name": "none"}}

# A process that squares numbers slowly and writes down each one that it starts with.
WORKER = """
import sys, time
from sip.store.fill import fill
from sip.store.stage import Store

root, log, first, last, pause = sys.argv[1], sys.argv[2], *map(float, sys.argv[3:])

def make(batches, add):
    for number in (number for batch in batches for number in batch):
        with open(log, "a") as file:
            file.write(f"k{number}\\n")
        time.sleep(pause)
        add({"key": f"k{number}", "payload": b"%d" % number, "suffix": ".txt"})

stage = Store(root).stage("toy", "square", {"v": 1})
print("ready", flush=True)
filled = fill(stage, {f"k{n}": n for n in range(int(first), int(last))}, make, 4, shard_size=4)
print(len(filled.rows), filled.cached, filled.computed, filled.waited, flush=True)
"""


def square(numbers: list[int]) -> Iterator[dict]:
    """Make the rows of the toy stage."""
    for number in numbers:
        yield {"key": f"k{number}", "square": number**2}


def never(numbers: list[int]) -> Iterable[dict]:
    """Stand where nothing must be made."""
    raise AssertionError(f"asked to make {numbers}")


def wanted(*numbers: int) -> dict[str, int]:
    """Return keys and inputs of the toy stage."""
    return {f"k{number}": number for number in numbers}


@pytest.fixture
def stage(tmp_path: Path) -> StageStore:
    """Return an empty toy stage."""
    return Store(tmp_path).stage("toy", "square", RECIPE)


def fill(
    stage: StageStore, wanted: dict, make: Callable[[list], Iterable[dict]], chunk: int, **options
) -> Filled:
    """Fill a stage with a function from a batch to its rows; batch and shard are one."""

    def push(batches: Iterator[list], add: Add) -> None:
        for batch in batches:
            for row in make(batch):
                add(row)

    return fill_stage(stage, wanted, push, chunk, shard_size=chunk, **options)


def reopened(stage: StageStore) -> StageStore:
    """Return the same stage as another process would see it."""
    return Store(stage.folder.parents[1]).stage("toy", "square", RECIPE)


def start(root: Path, log: Path, first: int, last: int, pause: float) -> subprocess.Popen:
    """Start a process that wants the squares of first .. last - 1."""
    command = [sys.executable, "-c", WORKER, str(root), str(log), *map(str, (first, last, pause))]
    env = os.environ | {"PYTHONPATH": str(Path(sip.__file__).parents[1])}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def lines(file: Path) -> list[str]:
    """Return the lines of a log that may not be there yet."""
    return file.read_text().split() if file.exists() else []


def wait_for(condition) -> None:
    """Wait until `condition()` holds, 120 s at most."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "waited for 120 s"
        time.sleep(0.02)


def test_missing_rows_are_made_and_then_found(stage: StageStore) -> None:
    first = fill(stage, wanted(1, 2, 3), square, chunk=2)
    assert (first.cached, first.computed, first.waited) == (0, 3, 0)
    second = fill(reopened(stage), wanted(4, 3, 2), square, chunk=2)
    assert (second.cached, second.computed, second.waited) == (2, 1, 0)
    assert [row["square"] for row in second.rows.values()] == [16, 9, 4]
    assert fill(reopened(stage), wanted(1, 2, 3, 4), never, chunk=2).computed == 0


def test_a_chunk_is_a_shard_with_rows_in_the_order_asked_for(stage: StageStore) -> None:
    fill(stage, wanted(*range(5)), lambda numbers: square(numbers[::-1]), chunk=2)
    assert len(list((stage.folder / "shards").iterdir())) == 3
    assert stage.keys() == [f"k{n}" for n in range(5)]
    assert list((stage.folder / "tmp").iterdir()) == []
    assert [file.name for file in (stage.folder / "claims").iterdir()] == ["lock"]


def test_the_folder_says_how_rows_are_made(stage: StageStore) -> None:
    assert stage.folder.name == f"square-{stage.fingerprint}"
    assert json.loads((stage.folder / "recipe.json").read_text()) == RECIPE
    other = Store(stage.folder.parents[1]).stage("toy", "square", RECIPE | {"version": 2})
    assert other.folder != stage.folder


@pytest.mark.parametrize("text", ["{", "", None, "[]", '{"version": 3}'])
def test_a_recipe_that_is_lost_or_changed_is_written_again(
    stage: StageStore, text: str | None, capsys: pytest.CaptureFixture
) -> None:
    fill(stage, wanted(1), square, chunk=1)
    file = stage.folder / "recipe.json"
    file.unlink() if text is None else file.write_text(text)
    assert fill(reopened(stage), wanted(1), never, chunk=1).cached == 1
    assert json.loads(file.read_text()) == RECIPE
    assert f"{file} " in capsys.readouterr().err


def test_a_garbled_shard_is_refused_with_a_remedy(stage: StageStore) -> None:
    fill(stage, wanted(1), square, chunk=2)
    next(stage.folder.glob("shards/*/rows.parquet")).write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"rows\.parquet .*delete the folder .*made again"):
        reopened(stage).keys()


def test_payloads_are_files_with_checksums(stage: StageStore) -> None:
    def make(numbers: list[int]) -> Iterator[dict]:
        for number in numbers:
            payload = None if number == 2 else bytes([number] * 10)
            yield {"key": f"k{number}", "payload": payload, "suffix": ".bin", "label": number}

    fill(stage, wanted(1, 2, 3), make, chunk=3)
    rows = reopened(stage).read(["k3", "k1", "k2", "k9"])
    assert list(rows) == ["k3", "k1", "k2"]
    assert Path(rows["k3"]["file"]).is_absolute()
    assert Path(rows["k3"]["file"]).read_bytes() == bytes([3] * 10)
    assert rows["k3"]["file_sha256"] == hashlib.sha256(bytes([3] * 10)).hexdigest()
    assert rows["k2"] == {"key": "k2", "label": 2, "file": None, "file_sha256": None}


def test_a_moved_store_still_finds_its_files(stage: StageStore, tmp_path: Path) -> None:
    make = lambda numbers: ({"key": f"k{n}", "payload": b"x", "suffix": ".bin"} for n in numbers)  # noqa: E731
    fill(stage, wanted(1), make, chunk=1)
    (tmp_path / "toy").rename(tmp_path / "moved")
    moved = Store(tmp_path).stage("moved", "square", RECIPE)
    assert Path(moved.read(["k1"])["k1"]["file"]).read_bytes() == b"x"


def test_values_come_back_as_they_went_in(stage: StageStore) -> None:
    columns = ("text", "count", "share", "good", "words", "parts")
    values = {
        "k1": dict(zip(columns, (None, None, None, None, [], []), strict=True)),
        "k2": dict(zip(columns, ("é\n", 2**62, 0.1, True, ["a"], [1.5]), strict=True)),
        "k3": dict(zip(columns, ("", -1, 2.0, False, None, [0.25]), strict=True)),
    }
    keys = {key: key for key in values}
    fill(stage, keys, lambda chunk: ({"key": key} | values[key] for key in chunk), chunk=3)
    assert reopened(stage).read(values) == {key: {"key": key} | row for key, row in values.items()}


def test_vectors_keep_their_bits_and_half_the_space(stage: StageStore) -> None:
    vector = np.random.default_rng(0).normal(size=5).astype(np.float32)
    rows = [{"key": "k1", "a": vector}, {"key": "k2", "a": None}]
    fill(stage, wanted(1, 2), lambda _: rows, chunk=2)
    read = stage.read(["k1", "k2"])
    assert np.array_equal(np.array(read["k1"]["a"], np.float32), vector) and read["k2"]["a"] is None
    assert str(to_table(rows[::-1]).schema.field("a").type.value_type) == "float"


def test_a_column_has_one_type_whatever_its_first_row_holds() -> None:
    rows = [{"a": None, "b": [], "c": None}, {"a": 1.5, "b": ["x"], "c": None}]
    assert to_table(rows).schema.equals(to_table(rows[::-1]).schema)


@pytest.mark.parametrize("value", [{"a": 1}, b"x", [b"x"], [[1.0]], object(), np.ones(2)])
def test_other_values_are_refused(stage: StageStore, value: object) -> None:
    with pytest.raises(TypeError, match="column 'a': must be str"):
        fill(stage, wanted(1), lambda _: [{"key": "k1", "a": value}], chunk=1)


def test_a_column_of_mixed_kinds_is_refused(stage: StageStore) -> None:
    rows = [{"key": "k1", "a": 1}, {"key": "k2", "a": "x"}]
    with pytest.raises(TypeError, match="column 'a' mixes int, str"):
        fill(stage, wanted(1, 2), lambda _: rows, chunk=2)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_was_finished_before_an_error_is_kept(
    stage: StageStore, error: type[BaseException]
) -> None:
    def make(numbers: list[int]) -> Iterator[dict]:
        for number in numbers:
            if number == 6:
                raise error("six")
            yield {"key": f"k{number}", "payload": b"x", "suffix": ".bin"}

    with pytest.raises(error, match="six"):
        fill(stage, wanted(*range(8)), make, chunk=4)
    assert reopened(stage).keys() == ["k0", "k1", "k2", "k3", "k4", "k5"]
    assert [file.name for file in (stage.folder / "claims").iterdir()] == ["lock"]
    filled = fill(reopened(stage), wanted(*range(8)), square, chunk=4)
    assert (filled.cached, filled.computed) == (6, 2)


def test_an_interrupt_while_committing_costs_nothing(
    stage: StageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, calls = os.rename, []

    def interrupted(*args) -> None:
        calls.append(args)
        if len(calls) == 1:
            raise KeyboardInterrupt
        rename(*args)

    monkeypatch.setattr(os, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fill(stage, wanted(1, 2, 3), square, chunk=2)
    assert reopened(stage).keys() == ["k1", "k2"]


def test_shards_hold_whole_batches(stage: StageStore) -> None:
    keys = {f"k{n}": n for n in range(10)}
    batches = [["k9", "k1", "k2"], ["k3"], ["k4", "k5", "k6", "k7"], ["k8", "k0"]]
    asked = []

    def make(given: Iterator[list[int]], add: Add) -> None:
        for batch in given:
            asked.append(batch)
            for number in batch[::-1]:
                add({"key": f"k{number}"})

    fill_stage(stage, keys, make, batches, shard_size=4)
    assert asked == [[9, 1, 2], [3], [4, 5, 6, 7], [8, 0]]
    shards = [read_columns(s, ["key"])["key"] for s in sorted(stage.shards.iterdir())]
    assert shards == [["k9", "k1", "k2", "k3"], ["k4", "k5", "k6", "k7"], ["k8", "k0"]]
    shutil.rmtree(sorted(stage.shards.iterdir())[0])
    asked.clear()
    assert fill_stage(reopened(stage), keys, make, batches, shard_size=4).computed == 4
    assert asked == [[9, 1, 2], [3]]


def test_rows_may_come_from_another_thread_and_out_of_order(stage: StageStore) -> None:
    def make(batches: Iterator[list[int]], add: Add) -> None:
        later: list[int] = []
        with ThreadPoolExecutor(1) as pool:
            for batch in batches:
                later += batch
                if len(later) > 50:  # further ahead than one shard
                    pool.submit(list, map(add, ({"key": f"k{n}"} for n in later[::-1]))).result()
                    later = []
        for number in later:
            add({"key": f"k{number}"})

    filled = fill_stage(stage, wanted(*range(200)), make, 7, shard_size=20)
    assert filled.computed == 200 and len(reopened(stage).keys()) == 200


def test_make_must_give_what_was_asked_for(stage: StageStore) -> None:
    with pytest.raises(RuntimeError, match="no row for 1 of the keys"):
        fill(stage, wanted(1, 2), lambda _: square([1]), chunk=2)
    with pytest.raises(ValueError, match="'k2' twice or unasked"):
        fill(stage, wanted(2, 3), lambda _: square([2, 2]), chunk=2)
    with pytest.raises(ValueError, match="'k9' twice or unasked"):
        fill(stage, wanted(4), lambda _: square([9]), chunk=2)
    assert stage.keys() == ["k1", "k2"]


def test_failed_rows_are_kept_and_tried_again_on_request(stage: StageStore) -> None:
    def make(numbers: list[int], failing: set[int]) -> Iterator[dict]:
        for number in numbers:
            if number in failing:
                yield {"key": f"k{number}", "status": "failed", "error": "black"}
            else:
                yield {"key": f"k{number}", "status": "ok", "error": None}

    first = fill(stage, wanted(1, 2, 3), lambda numbers: make(numbers, {1, 2}), chunk=2)
    assert first.rows["k1"]["error"] == "black"
    assert stage.num_failed == reopened(stage).num_failed + 2 == 2  # nobody has looked yet
    assert stage.failed(["k3", "k2", "k1"]) == reopened(stage).failed(["k3", "k2", "k1"])
    assert fill(reopened(stage), wanted(1, 2, 3), never, chunk=2).cached == 3
    again = fill(
        reopened(stage),
        wanted(1, 2, 3),
        lambda numbers: make(numbers, {1}),
        chunk=1,
        retry_failed=True,
    )
    assert (again.cached, again.computed) == (1, 2)
    assert [row["status"] for row in reopened(stage).read(again.rows).values()] == [
        "failed",
        "ok",
        "ok",
    ]
    assert again.stage.num_failed == 1 and again.stage.failed(again.wanted) == ["k1"]
    assert list(again.stage.each(["k1", "k3"], ["status"])) == [
        {"key": "k1", "status": "failed"},
        {"key": "k3", "status": "ok"},
    ]


def test_a_failed_row_takes_no_finished_ones_place(stage: StageStore) -> None:
    stage.remember("a", [("k1", "ok"), ("k2", "failed")])
    stage.remember("b", [("k1", "failed"), ("k2", "failed"), ("k3", None)])
    stage.remember("c", [("k2", "ok"), ("k3", "ok")])
    assert [stage.shard_of(key) for key in ("k1", "k2", "k3")] == ["a", "c", "b"]
    assert stage.num_failed == 0 and not any(map(stage.has_failed, ("k1", "k2", "k3")))


def test_a_disk_that_cannot_be_written_is_one_line(
    stage: StageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="cannot write to .*No space left on device; make room"):
        fill(stage, wanted(1), lambda _: [{"key": "k1", "payload": b"", "suffix": ".b"}], chunk=1)
    monkeypatch.undo()
    assert list((stage.folder / "tmp").iterdir()) == []
    assert fill(stage, wanted(1), square, chunk=1).computed == 1


def test_a_bar_only_where_there_is_work(stage: StageStore, capsys: pytest.CaptureFixture) -> None:
    fill(stage, wanted(*range(5)), square, chunk=2, name="squares", unit="number")
    shown = capsys.readouterr().err
    assert "squares" in shown and "0/5" in shown and "5/5" in shown
    fill(reopened(stage), wanted(*range(5)), square, chunk=2)
    assert capsys.readouterr().err == ""


def test_two_processes_make_no_row_twice(tmp_path: Path) -> None:
    log = tmp_path / "log"
    workers = [start(tmp_path, log, 0, 30, 0.01), start(tmp_path, log, 10, 40, 0.01)]
    told = [worker.communicate(timeout=60) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], told
    assert sorted(lines(log)) == sorted(f"k{n}" for n in range(40))
    counts = [list(map(int, out.split()[1:])) for out, _ in told]
    assert [sum(rest) for _, *rest in counts] == [30, 30]
    assert [rows for rows, *_ in counts] == [30, 30]


def test_one_waits_for_what_another_makes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    worker = start(tmp_path, log, 0, 4, 0.3)
    wait_for(lambda: lines(log))
    late = start(tmp_path, log, 0, 4, 0.3)
    out, err = late.communicate(timeout=60)
    worker.communicate(timeout=60)
    assert out.decode().split()[1:] == ["4", "0", "0", "4"]
    assert err.decode().count("waiting for 4 made by process") == 1
    assert len(lines(log)) == 4


@pytest.mark.parametrize("waiting", [False, True], ids=["restarted", "taken over"])
def test_what_a_killed_process_left_is_made_by_another(tmp_path: Path, waiting: bool) -> None:
    log, second_log = tmp_path / "log", tmp_path / "second"
    worker = start(tmp_path, log, 0, 12, 0.2)
    wait_for(lambda: len(lines(log)) >= 6)
    if waiting:  # stopped, it lives and keeps its claim
        worker.send_signal(signal.SIGSTOP)
        second = start(tmp_path, second_log, 0, 12, 0)
        wait_for(lambda: len(lines(second_log)) == 4)
    worker.kill()  # not reaped: a zombie is dead
    if not waiting:
        second = start(tmp_path, second_log, 0, 12, 0)
    out, err = second.communicate(timeout=60)
    worker.communicate()
    assert out.decode().split()[1:] == ["12", "4", "8", "0"], err
    assert sorted(lines(second_log)) == sorted(f"k{n}" for n in range(4, 12))
    stage = Store(tmp_path).stage("toy", "square", {"v": 1})
    assert list((stage.folder / "tmp").iterdir()) == []
    assert len(stage.read(stage.keys())) == 12


def test_an_interrupted_process_keeps_what_it_finished(tmp_path: Path) -> None:
    log = tmp_path / "log"
    worker = start(tmp_path, log, 0, 12, 0.2)
    wait_for(lambda: len(lines(log)) >= 7)
    worker.send_signal(signal.SIGINT)
    worker.communicate(timeout=60)
    stage = Store(tmp_path).stage("toy", "square", {"v": 1})
    assert worker.returncode != 0
    assert len(stage.keys()) == len(lines(log)) == 8  # the batch at hand was finished
    assert [file.name for file in (stage.folder / "claims").iterdir()] == ["lock"]


def test_an_owner_elsewhere_lives_as_long_as_its_heart_beats() -> None:
    claim = Claim("elsewhere.1", 1, "5", [])
    assert claims_module.is_alive(claim, silent_for=5)
    assert not claims_module.is_alive(claim, silent_for=1000)


def test_an_owner_here_lives_as_long_as_its_process() -> None:
    pid = os.getpid()
    claim = Claim(claims_module.host_name(), pid, claims_module.start_time(pid), [])
    assert claims_module.is_alive(claim, silent_for=1e6)
    assert not claims_module.is_alive(replace(claim, started="before"), silent_for=0)  # reused id
    assert not claims_module.is_alive(replace(claim, pid=2**22 + 1, started="5"), silent_for=0)


def claim_of_another(stage: StageStore, keys: list[str], **changes: object) -> Path:
    """Write the claim of a live process, this one; return its file."""
    (stage.folder / "claims").mkdir(exist_ok=True)
    pid = os.getpid()
    claim = Claim(claims_module.host_name(), pid, claims_module.start_time(pid), keys)
    file = stage.folder / "claims" / f"{claim.host}-{pid}-other.1.json"
    file.write_text(json.dumps(asdict(replace(claim, **changes))))
    return file


def test_a_hung_owner_is_named_with_the_command_that_frees_its_rows(
    stage: StageStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(waiting, "HUNG_AFTER", 1.0)
    monkeypatch.setattr(waiting, "POLL_EVERY", 0.1)
    file = claim_of_another(stage, ["k1"])
    said: list[str] = []

    def follow(name: str, text: str) -> None:
        said.append(text)
        if command := re.search(r"rm (\S+)$", text):
            Path(command[1]).unlink()

    monkeypatch.setattr(waiting, "say", follow)
    assert fill(stage, wanted(0, 1), square, chunk=1).computed == 2
    first, hung = said
    assert first.startswith("waiting for 1 made by process")
    assert re.match(rf"process {os.getpid()} on .* has finished no shard for 1\.. s; ", hung)
    assert not file.exists()


def test_an_owner_that_takes_new_rows_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 600))
    monkeypatch.setattr(waiting.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(waiting.time, "sleep", lambda seconds: None)
    said: list[str] = []
    monkeypatch.setattr(waiting, "say", lambda name, text: said.append(text))
    waits = waiting.Waiting()
    numbers = iter([1, 2, 3, 3, 3])
    claims = SimpleNamespace(number_of=lambda owner: next(numbers), file_of=Path)
    for seen in range(1, 6):
        waits.owners.add("host.1-5-ab")
        waits.wait("images", 1, claims)
        assert len(said) == (1 if seen < 5 else 2)


def test_what_dead_owners_left_is_swept_if_nothing_is_missing(stage: StageStore) -> None:
    fill(stage, wanted(1), square, chunk=1)
    dead = claim_of_another(stage, ["k1"], started="before")
    unfinished = stage.tmp / f"{dead.name.removesuffix('.1.json')}--1-ab"
    unfinished.mkdir()
    assert fill(stage, wanted(1), never, chunk=1).cached == 1
    assert not dead.exists() and not unfinished.exists()


@pytest.mark.parametrize("name", ["ENOLCK", "ENOSYS"])
def test_a_file_system_without_locks_is_one_line(
    stage: StageStore, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    number = getattr(errno, name)
    monkeypatch.setattr(claims_module.fcntl, "flock", failing(OSError(number, os.strerror(number))))
    rule = r"paths\.store: must be on a file system with locks, got \S+claims on \w+ .*choose"
    with pytest.raises(UserError, match=rule):
        fill(stage, wanted(1), square, chunk=1)


def failing(error: OSError, times: int = 99, then: Callable | None = None) -> Callable:
    """Return a function that fails some times, and then does its work."""
    left = [error] * times

    def act(*given: object) -> object:
        if left:
            raise left.pop()
        return then(*given) if then else None

    return act


@pytest.mark.parametrize("name", ["ESTALE", "EIO"])
@pytest.mark.parametrize("place", ["flock", "rename"])
@pytest.mark.parametrize("times", [2, 99])
def test_a_network_disk_that_fails_is_asked_again(
    stage: StageStore, monkeypatch: pytest.MonkeyPatch, name: str, place: str, times: int
) -> None:
    monkeypatch.setattr(files, "PAUSES", (0.0, 0.0))
    module = claims_module.fcntl if place == "flock" else os
    error = OSError(getattr(errno, name), os.strerror(getattr(errno, name)))
    monkeypatch.setattr(module, place, failing(error, times, getattr(module, place)))
    if times == 2:
        assert fill(stage, wanted(1), square, chunk=1).computed == 1
        return
    with pytest.raises(UserError, match=r"the file system \(\w+\) does not answer: .* 3 attempts"):
        fill(stage, wanted(1), square, chunk=1)


def test_a_rename_that_was_done_and_denied_is_done(
    stage: StageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename
    error = OSError(errno.ESTALE, "Stale file handle")

    def done_and_denied(source: Path, target: Path) -> None:
        rename(source, target)  # the second time: FileNotFoundError
        raise error

    monkeypatch.setattr(files, "PAUSES", (0.0,))
    monkeypatch.setattr(os, "rename", done_and_denied)
    assert fill(stage, wanted(1), square, chunk=1).computed == 1
    assert reopened(stage).keys() == ["k1"]


def test_each_shard_is_read_once_whatever_the_order(
    stage: StageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(stage, wanted(*range(60)), square, chunk=4)
    read: list[str] = []

    def noted(shard: Path, keys: set[str], columns: None) -> Iterator[dict]:
        read.append(shard.name)
        return read_rows(shard, keys, columns)

    monkeypatch.setattr(stage_module, "read_rows", noted)
    order = random.Random(0).sample(range(60), 60)
    keys = [f"k{number}" for number in [*order, *order[:5]]]
    assert [row["square"] for row in stage.each(keys)] == [int(key[1:]) ** 2 for key in keys]
    assert len(read) == len(set(read)) == 15


def test_many_shards_are_read_quickly(stage: StageStore) -> None:
    fill(stage, wanted(*range(300)), square, chunk=1)
    other = reopened(stage)
    before = time.process_time()
    assert len(other.read(wanted(*range(300)))) == 300
    assert time.process_time() - before < 3


def test_a_host_name_with_dashes_costs_nothing(
    stage: StageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims_module, "host_name", lambda: "job--worker--0.4026531836")

    def make(batches: Iterator[list[int]], add: Add) -> None:
        for batch in list(batches):  # all are claimed while the shard is open
            for number in batch:
                add({"key": f"k{number}", "payload": b"x", "suffix": ".bin"})

    assert fill_stage(stage, wanted(*range(40)), make, 4, shard_size=8).computed == 40


def test_a_shard_that_is_gone_while_failed_rows_are_made_again(stage: StageStore) -> None:
    def failing(numbers: list[int]) -> Iterator[dict]:
        for number in numbers:
            yield {"key": f"k{number}", "status": "failed"}

    def good(numbers: list[int]) -> Iterator[dict]:
        if first := [folder for folder in stage.shards.iterdir() if folder.name == doomed]:
            shutil.rmtree(first[0])
        for number in numbers:
            yield {"key": f"k{number}", "status": "ok"}

    fill(stage, wanted(0), failing, chunk=1)
    doomed = next(stage.shards.iterdir()).name
    fill(stage, wanted(1, 2, 3), failing, chunk=1)
    filled = fill(stage, wanted(1, 2, 3), good, chunk=1, retry_failed=True)
    assert filled.computed == 3
    assert {row["status"] for row in filled.rows.values()} == {"ok"}


def test_a_shard_size_below_one_is_refused(stage: StageStore) -> None:
    with pytest.raises(ValueError, match="shard_size: must be >= 1, got 0"):
        fill_stage(stage, wanted(1), lambda batches, add: None, 1, shard_size=0)


def test_rows_that_are_asked_for_later_are_looked_up_under_the_lock(
    stage: StageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    filling = Filling(stage, {}, [], 1, retry_failed=True)
    held: list[bool] = []
    for name in ("refresh", "lacks"):
        look = getattr(StageStore, name)

        def noted(*args, look: Callable = look) -> object:
            held.append(filling._lock.locked())  # another thread may commit
            return look(*args)

        monkeypatch.setattr(StageStore, name, noted)
    with filling.begun("squares", "number"):
        assert filling.extend(wanted(1)) == ["k1"]
    assert held == [True, True]
