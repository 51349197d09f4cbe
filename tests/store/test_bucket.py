"""A stage in an object store: nothing is lost and nothing made twice, whatever fails."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sip.core import object_cache, objects
from sip.core.errors import DamagedError, UserError
from sip.core.tars import read_checked
from sip.core.uri import Uri
from sip.executor.local import Local
from sip.store import leases as leases_module
from sip.store import manifest as manifest_module
from sip.store import repair as repair_module
from sip.store.bucket import Bucket
from sip.store.fill import Filled, fill
from sip.store.leases import Leases
from sip.store.order import compact
from sip.store.repair import repair
from sip.store.stage import StageStore, Store
from sip.store.writer import ShardWriter
from tests.s3 import Fault, S3Server
from tests.store.killed import Killed

NUM, SHARD = 10, 4
SHARDS = 3  # of 4, 4 and 2 rows
KEYS = [f"k{number}" for number in range(NUM)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(objects, "REQUESTS", 1)


def opened(place: str | Path) -> StageStore:
    return Store(place).stage("images", "toy", {"version": 1})


def made(
    stage: StageStore, keys: Sequence[str] = KEYS, failing: Sequence[str] = (), **options: Any
) -> tuple[Filled, list[str]]:
    """Fill a stage; return the outcome and the keys of the rows that were made."""
    asked: list[str] = []

    def make(batches: Iterator[list[str]], add) -> None:
        for batch in batches:
            asked.extend(batch)
            for key in batch:
                row = {"key": key, "status": "ok", "payload": key.encode() * 99, "suffix": ".txt"}
                add(row | {"status": "failed", "payload": None} if key in failing else row)

    wanted = dict(zip(keys, keys, strict=True))
    return fill(stage, wanted, make, 2, SHARD, **options), asked


def contents(place: str | Path) -> dict[str, tuple[str, bytes | None]]:
    """Return key -> status and bytes, read by a process that knows nothing; each key is once."""
    stage, found = opened(place), {}
    for shard, states in stage.place.keys_of(sorted(stage.place.names())):
        for key, state in states:
            assert key not in found, f"{key} was made twice, again in {shard}"
            found[key] = state
    rows = stage.read(found)
    return {
        key: (row["status"], row["file"] and read_checked(row["file"], row["file_sha256"]))
        for key, row in rows.items()
    }


WHOLE = {key: ("ok", key.encode() * 99) for key in KEYS}


def names(place: str) -> list[str]:
    """Return the objects of a stage, by the last two parts of their names."""
    root = opened(place).place.root
    assert isinstance(root, Uri)
    return [there.name for there in objects.listing(root)]


def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Go on as another machine would, with an empty cache."""
    monkeypatch.setenv("SIP_CACHE", str(tmp_path / "elsewhere"))


def test_rows_are_those_of_a_folder_and_either_can_be_copied(bucket: str, tmp_path: Path) -> None:
    filled, _ = made(opened(bucket))
    assert (filled.computed, list(filled.rows)) == (NUM, KEYS)
    assert contents(bucket) == WHOLE
    here = opened(tmp_path / "here")
    made(here, storage="files")
    assert contents(tmp_path / "here") == WHOLE
    assert here.place.read_recipe() == opened(bucket).place.read_recipe()
    assert here.path == opened(bucket).path
    for name in names(bucket):  # to a folder, file by file
        target = tmp_path / "copy" / here.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(objects.read(opened(bucket).place.root / name))
    shutil.rmtree(tmp_path / "copy" / here.path / "manifest")
    assert contents(tmp_path / "copy") == WHOLE
    copied = f"{bucket}/copied"
    for file in here.folder.rglob("shards/*/*"):
        name = file.relative_to(here.folder).as_posix()
        objects.write(Store(copied).root / here.path / name, file)
    assert contents(copied) == WHOLE


def test_a_commit_is_two_objects_and_an_entry(bucket: str, s3_server: S3Server) -> None:
    stage = opened(bucket)
    s3_server.requests.clear()
    made(stage, KEYS[:SHARD])
    put = [path for method, path in s3_server.requests if method == "PUT" and "claims" not in path]
    tar, rows, entry = put
    assert "/images.tar" in tar and "/rows.parquet" in rows and "/manifest/" in entry
    assert not list(stage.tmp.iterdir()) and not list((stage.folder / "unsent").iterdir())
    assert not [name for name in names(bucket) if name.startswith("claims/")]


def test_a_cached_start_reads_no_image(bucket: str, s3_server: S3Server) -> None:
    made(opened(bucket))
    s3_server.requests.clear()
    filled, asked = made(opened(bucket))
    assert filled.cached == NUM and not asked
    assert not [path for _, path in s3_server.requests if "images.tar" in path or "rows" in path]


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        *((kind, "rows.parquet") for kind in ("500", "503", "cut", "dropped", "lost")),
        *(("lost", part) for part in ("images.tar", "manifest", "claims")),
        ("cut", "images.tar"),
        ("500", "manifest"),
        ("dropped", "claims"),
    ],
)
def test_a_commit_outlives_faults(bucket: str, s3_server: S3Server, kind: str, part: str) -> None:
    with s3_server.failing(Fault(kind, "PUT", part, 2), Fault(kind, "GET", part, 1)):
        filled, asked = made(opened(bucket))
        assert kind in s3_server.failed
    assert filled.computed == NUM and asked == KEYS and list(filled.rows) == KEYS
    assert contents(bucket) == WHOLE


@pytest.mark.parametrize("part", ["images.tar", "rows.parquet"])
def test_what_cannot_be_sent_is_sent_by_the_next_process(
    bucket: str, s3_server: S3Server, part: str
) -> None:
    with (
        s3_server.failing(Fault("503", "PUT", part, 99)),
        pytest.raises(UserError, match="does not answer.*finished work is kept"),
    ):
        made(opened(bucket))
    stage = opened(bucket)
    assert len(list((stage.folder / "unsent").iterdir())) == 1
    filled, asked = made(stage)
    assert filled.cached == SHARD and asked == KEYS[SHARD:]
    assert contents(bucket) == WHOLE and not list((stage.folder / "unsent").iterdir())


@pytest.mark.parametrize("is_same_machine", [True, False])
@pytest.mark.parametrize(
    ("part", "has_rows"), [("images.tar", False), ("rows.parquet", False), ("manifest/", True)]
)
def test_a_process_killed_in_a_commit_loses_no_row(
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
    has_rows: bool,
    is_same_machine: bool,
) -> None:
    write = objects.write

    def killed(uri: Uri, *args: Any, **options: Any) -> None:
        if part in str(uri):
            raise Killed
        write(uri, *args, **options)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(objects, "write", killed)
        patched.setattr(Leases, "release", lambda claims: claims._stop.set())
        made(opened(bucket))
    # Its claim lies there, and names a process that lives: this one.
    monkeypatch.setattr(leases_module, "is_alive", lambda claim, silent_for: False)
    if not is_same_machine:
        elsewhere(monkeypatch, tmp_path)
    kept = KEYS[:SHARD] if has_rows or is_same_machine else []
    filled, asked = made(opened(bucket))
    assert asked == [key for key in KEYS if key not in kept]
    assert filled.cached == len(kept) and contents(bucket) == WHOLE


def test_a_shard_whose_owner_died_behind_it_is_found_meanwhile(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not in the manifest, and a process that looked before has not listed it."""
    early = opened(bucket)
    early.refresh()
    with monkeypatch.context() as patched:
        patched.setattr(manifest_module.Manifest, "write", lambda *args: None)
        patched.setattr(manifest_module.Manifest, "fold", lambda *args: None)
        patched.setattr(Leases, "release", lambda claims: claims._stop.set())
        made(opened(bucket), KEYS[:SHARD])
        objects.write(
            early.place.root / "claims" / "gone.x-1-ab.1.holds",
            b'{"host": "gone", "pid": 1, "started": "1", "keys": ["k0"], "asked": []}',
        )
    monkeypatch.setattr(leases_module, "is_alive", lambda claim, silent_for: False)
    _, asked = made(early)
    assert asked == KEYS[SHARD:] and contents(bucket) == WHOLE


def test_processes_share_the_work(bucket: str) -> None:
    shared: list[str] = []
    lock, barrier = threading.Barrier(3), threading.Lock()

    def work() -> None:
        stage = opened(bucket)
        lock.wait()
        _, asked = made(stage, [f"k{number}" for number in range(40)])
        with barrier:
            shared.extend(asked)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(shared) == len(set(shared)) == 40 and len(contents(bucket)) == 40


def test_what_was_made_between_a_look_and_a_claim_is_left_alone(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, take = opened(bucket), Leases.take

    def take_after_another(claims: Leases, keys: list[str]) -> set[str]:
        with monkeypatch.context() as patched:
            patched.setattr(Leases, "take", take)
            made(opened(bucket), KEYS[1:3])  # claimed, committed and released meanwhile
        return take(claims, keys)

    with monkeypatch.context() as patched:
        patched.setattr(Leases, "take", take_after_another)
        filled, asked = made(late)
    assert asked == [key for key in KEYS if key not in KEYS[1:3]]
    assert filled.waited == 2 and contents(bucket) == WHOLE


def test_what_is_committed_while_shards_are_listed_is_not_made_again(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(opened(bucket), KEYS[:4])
    late, listing, done = opened(bucket), objects.listing, list[str]()

    def then_committed(place: Uri) -> list[Any]:
        found = list(listing(place))
        if place == late.shards and not done:
            done.append("committed")
            made(opened(bucket), KEYS[4:8])
        return found

    monkeypatch.setattr(objects, "listing", then_committed)
    assert list(late.missing(KEYS)) == KEYS[8:] and done


def test_of_those_who_ask_at_once_one_gets_a_row(bucket: str) -> None:
    folder = Store(bucket).root / "claims"
    owners = [Leases(folder) for _ in range(5)]
    start, got = threading.Barrier(5), dict[str, set[str]]()

    def ask(owner: Leases) -> None:
        start.wait()
        got[owner.owner] = set(KEYS) - owner.take(list(KEYS))

    threads = [threading.Thread(target=ask, args=(owner,)) for owner in owners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key for keys in got.values() for key in keys) == sorted(KEYS)
    late = Leases(folder)
    late.look()
    assert set(late.claimed()) == set(KEYS) and not late.is_empty()
    for owner in owners:
        owner.release()
    assert late.is_empty()


def test_an_owner_that_takes_other_rows_meanwhile_stays_an_owner(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, looking = opened(bucket).place.claims(), opened(bucket).place.claims()
    assert isinstance(busy, Leases) and isinstance(looking, Leases)
    assert busy.take(KEYS[:2]) == set()
    listing, done = objects.listing, list[str]()

    def then_taken(place: Uri) -> list[Any]:
        found = list(listing(place))
        if len(done) < 2:
            done.append("taken")
            monkeypatch.setattr(objects, "listing", listing)
            busy.take(KEYS[2 * len(done) : 2 * len(done) + 2])
            monkeypatch.setattr(objects, "listing", then_taken)
        return found

    monkeypatch.setattr(objects, "listing", then_taken)
    looking.look()
    assert len(done) == 2
    assert looking.owners() == {busy.owner, looking.owner}
    assert looking.claimed() == dict.fromkeys(KEYS[4:6], busy.owner)
    late = listing(looking.folder)
    busy.release()
    monkeypatch.setattr(objects, "listing", lambda place: late)  # it still has what was deleted
    looking = Leases(looking.folder)
    looking.look()
    assert looking.owners() == {looking.owner} and looking.claimed() == {}


@pytest.mark.parametrize(
    ("act", "look_number", "others"),
    [
        (lambda stage: Local().sweep(stage), 1, KEYS[4:]),
        (lambda stage: compact(stage.place, NUM), 2, KEYS[4:]),
        (lambda stage: made(stage, KEYS[2:]), 1, KEYS[2:]),
    ],
)
def test_a_shard_that_is_begun_after_a_look_is_left_alone(
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[[StageStore], Any],
    look_number: int,
    others: Sequence[str],
) -> None:
    made(opened(bucket), KEYS[4:])
    stage, busy, looks = opened(bucket), opened(bucket).place.claims(), list[Leases]()
    dead = stage.tmp / "lost-1-00000000--shard"
    dead.mkdir(parents=True)
    writers, look = [], Leases.look

    def then_begun(claims: Leases) -> None:
        look(claims)
        if claims is not busy:
            looks.append(claims)
            if len(looks) == look_number:
                assert busy.take(KEYS[:2]) == set()
                writers.append(ShardWriter(stage.place, busy.owner))
                for key in KEYS[:2]:
                    payload = key.encode() * 99
                    row = {"key": key, "status": "ok", "payload": payload, "suffix": ".txt"}
                    writers[0].add(row)

    with monkeypatch.context() as patched:
        patched.setattr(Leases, "look", then_begun)
        act(opened(bucket))
    assert not dead.exists(), "nothing was swept"
    writers[0].commit(KEYS[:2])
    busy.release()
    assert contents(bucket) == {key: WHOLE[key] for key in (*KEYS[:2], *others)}


def test_a_shard_whose_folder_somebody_deleted_is_not_called_committed(bucket: str) -> None:
    stage = opened(bucket)

    def lose(batches: Iterator[list[str]], add: Any) -> None:
        for key in (key for batch in batches for key in batch):
            add({"key": key, "status": "ok", "payload": b"x", "suffix": ".txt"})
            for folder in stage.tmp.iterdir():
                shutil.rmtree(folder)

    wanted = dict(zip(KEYS[:4], KEYS[:4], strict=True))
    with pytest.raises(UserError, match="its 4 finished rows are gone: somebody deleted the fold"):
        fill(stage, wanted, lose, 4, 4)
    assert contents(bucket) == {} and list(opened(bucket).missing(KEYS[:4])) == KEYS[:4]


@pytest.mark.parametrize("joins", [False, True])
def test_a_shard_that_another_process_sends_is_committed(
    bucket: str, monkeypatch: pytest.MonkeyPatch, joins: bool
) -> None:
    send, meanwhile = Bucket._send, []

    def after_another(place: Bucket, folder: Path, lock: int) -> bool:
        with monkeypatch.context() as patched:
            patched.setattr(Bucket, "_send", send)
            other = opened(bucket)
            other.refresh()  # sends what is not sent
            meanwhile.append(compact(other.place, NUM) if joins else ())
        return send(place, folder, lock)

    with monkeypatch.context() as patched:
        patched.setattr(Bucket, "_send", after_another)
        filled, _ = made(opened(bucket))
    assert filled.computed == NUM and len(meanwhile) == SHARDS
    assert contents(bucket) == WHOLE


def test_threads_of_an_owner_do_not_undo_each_others_claims(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread claims new rows while another one renews the claim on what is left."""
    owner, write = Leases(Store(bucket).root / "claims"), objects.write

    def slowly(uri: Uri, *args: Any, **options: Any) -> None:
        write(uri, *args, **options)
        time.sleep(0.05)

    def renew(keys: list[str]) -> None:
        with owner.locked():
            owner.take(keys)

    monkeypatch.setattr(objects, "write", slowly)
    renew(KEYS[:2])
    threads = [threading.Thread(target=renew, args=(KEYS[:num],)) for num in (4, 6, 8)]
    for thread in threads:
        thread.start()
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    other = Leases(owner.folder)
    other.look()
    assert list(other.claimed()) == KEYS[:8] and other.number_of(owner.owner) == 4
    owner.release()
    assert other.is_empty()


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let time pass."""
    now = time.monotonic
    monkeypatch.setattr(leases_module.time, "monotonic", lambda: now() + seconds)


@contextmanager
def elsewhere_host(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Claim as another machine in the block."""
    with monkeypatch.context() as patched:
        patched.setattr(leases_module, "host_name", lambda: "elsewhere.x")
        yield


def owner_elsewhere(monkeypatch: pytest.MonkeyPatch, folder: Uri) -> Leases:
    """Return an owner on another machine that holds k1."""
    with elsewhere_host(monkeypatch):
        other = Leases(folder)
        other.take(["k1"])
    return other


def test_a_lease_of_another_machine_ends(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Store(bucket).root / "claims"
    other = owner_elsewhere(monkeypatch, folder)
    own = Leases(folder)
    own.look()
    assert own.claimed() == {"k1": other.owner} and own.number_of(other.owner) == 1
    assert str(own.file_of(other.owner)).endswith(f"{other.owner}.1.holds")
    later(monkeypatch, 200)
    own.look()
    assert own.claimed() == {} and own.take(["k1"]) == set()
    other.release()
    own.release()


def test_who_beats_while_others_read_its_claim_lives(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, read = Store(bucket).root / "claims", Leases._read
    other = owner_elsewhere(monkeypatch, folder)
    own = Leases(folder)
    own.look()

    def slowly(claims: Leases, *args: Any) -> Any:
        lease = read(claims, *args)
        later(monkeypatch, 125)  # requests that fail are repeated for as long
        return lease

    monkeypatch.setattr(Leases, "_read", slowly)
    own.look()
    assert own.claimed() == {"k1": other.owner} and not own.is_empty()
    own.look()  # and now it has been silent
    assert own.claimed() == {} and own.is_empty()
    other.release()


def test_any_object_that_is_renewed_tells_of_life(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a claim whose writing failed, the one before it is renewed."""
    folder, listing = Store(bucket).root / "claims", objects.listing
    other = owner_elsewhere(monkeypatch, folder)
    with elsewhere_host(monkeypatch):
        other._number += 1
        other._write("asks", ["k1"], ["k2"])
    own = Leases(folder)
    own.look()

    def renewed(place: Uri) -> list[Any]:
        found = listing(place)
        return [replace(f, modified=f.modified + 200 * ("holds" in f.name)) for f in found]

    monkeypatch.setattr(objects, "listing", renewed)
    later(monkeypatch, 200)
    own.look()
    assert own.claimed() == dict.fromkeys(["k1", "k2"], other.owner)
    other.release()


@pytest.mark.parametrize("name", ["0", "z"])  # before the name of who looks, and behind it
def test_a_process_here_that_asks_for_long_lives_and_blocks_nobody(
    bucket: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = Store(bucket).root / "claims"
    busy, own = Leases(folder), Leases(folder)
    busy.owner, own.owner = f"{name}-{busy.owner}", f"a-{own.owner}"
    busy.take(["k0"])
    busy._number += 1
    busy._write("asks", ["k0"], ["k1"])  # and then it is suspended
    own.look()
    assert own.claimed() == dict.fromkeys(["k0", "k1"], busy.owner)
    later(monkeypatch, 200)
    own.look()
    assert own.owners() == {busy.owner, own.owner} and own.claimed() == {"k0": busy.owner}
    assert own.take(["k0", "k1"]) == {"k0"}
    busy.release()
    own.release()
    assert own.is_empty()


def test_an_owner_renews_what_it_asks_for_and_what_it_holds(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, write = list[str](), objects.write
    owner = Leases(Store(bucket).root / "claims")

    def noted(uri: Uri, *args: Any, **options: Any) -> None:
        write(uri, *args, **options)
        written.append(uri.name.removeprefix(f"{owner.owner}."))

    def decided(claims: Leases, asked: set[str]) -> set[str]:
        step = f"{claims._number}.asks"
        reached(lambda: written.count(step) > 2)
        reached(lambda: claims._number == 1 or written[written.index(step) :].count("1.holds") > 1)
        return set()

    monkeypatch.setattr(leases_module, "BEAT_EVERY", 0.01)
    monkeypatch.setattr(objects, "write", noted)
    monkeypatch.setattr(Leases, "_decide", decided)
    owner.take(["k0"])
    owner.take(["k0", "k1"])
    reached(lambda: written.count("2.holds") > 2)
    assert [there.name.partition(".2.")[2] for there in objects.listing(owner.folder)] == ["holds"]
    owner.release()
    assert owner.is_empty()


def reached(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("step", ["asks", "holds"])
def test_a_claim_that_fails_leaves_the_one_before_it(
    bucket: str, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    owner, write = Leases(Store(bucket).root / "claims"), objects.write
    owner.take(KEYS[:2])

    def failing(uri: Uri, *args: Any, **options: Any) -> None:
        write(uri, *args, **options)
        if uri.name.endswith(f".2.{step}"):  # the answer is lost
            raise UserError("does not answer")

    with monkeypatch.context() as patched, pytest.raises(UserError):
        patched.setattr(objects, "write", failing)
        owner.take(KEYS[1:3])
    other = Leases(owner.folder)
    other.look()
    assert set(other.claimed()) == set(KEYS[:2]) and other.number_of(owner.owner) == 1
    assert owner.take(KEYS[1:3]) == set()
    other.look()
    assert set(other.claimed()) == set(KEYS[1:3])
    owner.release()
    assert other.is_empty()


@pytest.mark.parametrize("error", [UserError, KeyboardInterrupt])
def test_what_cannot_be_released_is_released_later(
    bucket: str, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    claims, delete = opened(bucket).place.claims(), objects.delete
    assert isinstance(claims, Leases)

    def failing(uri: Uri, attempts: int | None = None) -> None:
        tried.append(uri.name)
        raise UserError("does not answer") if attempts else error("does not answer")

    tried = list[str]()
    monkeypatch.setattr(leases_module, "BEAT_EVERY", 0.01)
    monkeypatch.setattr(objects, "delete", failing)
    with suppress(KeyboardInterrupt):
        claims.take(KEYS[:2])  # its question stays
    with suppress(KeyboardInterrupt):
        claims.release()
    reached(lambda: len(tried) > 4)
    assert not claims.is_empty()
    monkeypatch.setattr(objects, "delete", delete)
    reached(claims.is_empty)
    assert made(opened(bucket))[1] == KEYS


def test_the_manifest_is_made_one_object(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_module, "FOLD_AFTER", SHARDS)
    early = opened(bucket)
    made(early, KEYS[:2])
    made(opened(bucket))
    made(opened(bucket), [*KEYS, "k10"])
    manifest = [name for name in names(bucket) if name.startswith("manifest/")]
    assert len([name for name in manifest if "all-" in name]) == 1 and len(manifest) <= SHARDS
    assert set(early.keys()) == {*KEYS, "k10"}
    assert contents(bucket) == WHOLE | {"k10": ("ok", b"k10" * 99)}


def test_a_manifest_that_is_damaged_is_read_from_the_shards(bucket: str) -> None:
    made(opened(bucket))
    stage = opened(bucket)
    for name in names(bucket):
        if name.startswith("manifest/"):
            objects.write(stage.place.root / name, b"nothing")
    assert contents(bucket) == WHOLE


def test_failed_rows_are_made_again(bucket: str) -> None:
    made(opened(bucket), failing=["k1", "k7"])
    assert opened(bucket).failed(KEYS) == ["k1", "k7"]
    _, asked = made(opened(bucket))
    assert not asked
    _, asked = made(opened(bucket), retry_failed=True)
    assert asked == ["k1", "k7"] and not opened(bucket).failed(KEYS)


@pytest.mark.parametrize("part", ["rows.parquet", "images.tar"])
def test_damaged_objects_are_named_set_aside_and_made_again(
    bucket: str, part: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made(opened(bucket))
    stage = opened(bucket)
    assert repair(Store(bucket), 2) == 0
    shard = sorted(stage.place.names())[0]
    size = objects.size_of(stage.shards / shard / part)
    data = bytearray(objects.read(stage.shards / shard / part))
    data[600] ^= 1  # in the first image of the tar file
    objects.write(stage.shards / shard / part, bytes(data))
    assert len(data) == size
    elsewhere(monkeypatch, tmp_path)
    with pytest.raises(DamagedError, match="retry=damaged"):
        contents(bucket)
    assert repair(Store(bucket), 2) == 1
    assert any(name.startswith(f"damaged/{shard}/") for name in names(bucket))
    _, asked = made(opened(bucket))
    assert asked == (["k0"] if part == "images.tar" else KEYS[:SHARD])
    assert contents(bucket) == WHOLE and repair(Store(bucket), 2) == 0


def damaged_shard(place: str) -> str:
    """Fill a stage and damage the image `k0`; return the name of its shard."""
    made(opened(place), storage="webdataset")
    stage = opened(place)
    shard = sorted(stage.place.names())[0]
    tar = stage.shards / shard / "images.tar"
    data = bytearray(tar.read_bytes() if isinstance(tar, Path) else objects.read(tar))
    data[600] ^= 1
    if isinstance(tar, Path):
        tar.write_bytes(data)
    else:
        objects.write(tar, bytes(data))
        object_cache.forget(str(tar))
    return shard


REPAIRED = {key: WHOLE[key] for key in KEYS[1:]}


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(
        request.getfixturevalue("bucket") if request.param == "bucket" else tmp_path / "store"
    )


def test_the_rows_that_a_repair_keeps_are_not_swept(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged_shard(place)
    add, swept = ShardWriter.add, list[str]()

    def then_swept(writer: ShardWriter, row: Any) -> None:
        add(writer, row)
        Local().sweep(opened(place))
        assert compact(opened(place).place, 1) == (0, 0)  # sweeps, too, and need not wait
        swept.append(row["key"])

    monkeypatch.setattr(ShardWriter, "add", then_swept)
    assert repair(Store(place), 1) == 1 and swept == KEYS[1:SHARD]
    assert contents(place) == REPAIRED and opened(place).place.claims().is_empty()


def test_of_two_repairs_one_waits_for_the_other(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = damaged_shard(place)
    kind, said, found = type(opened(place).place), list[str](), list[int]()
    set_aside, second = (
        kind.set_aside,
        threading.Thread(target=lambda: found.append(repair(Store(place), 1))),
    )

    def then_another(place: Any, shard: str) -> str:
        if second.ident is None:
            second.start()
            reached(lambda: any("waiting" in line for line in said))
        return set_aside(place, shard)

    monkeypatch.setattr(repair_module, "say", lambda name, line: said.append(line))
    monkeypatch.setattr(kind, "set_aside", then_another)
    assert repair(Store(place), 1) == 1
    second.join(20)
    assert found == [1] and contents(place) == REPAIRED
    assert [line.partition(" on ")[0] for line in said if "waiting" in line] == [
        f"waiting for process {os.getpid()}"
    ]
    assert sum("sound rows kept" in line for line in said) == 1 and shard in said[-1]
    assert opened(place).place.claims().is_empty()


def test_a_shard_that_another_repair_has_moved_meanwhile_is_no_error(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took this process for dead, whose copy of the sound rows is one too many."""
    shard = damaged_shard(place)
    module, name = (objects, "copy") if place.startswith("s3") else (os, "rename")
    step, done = getattr(module, name), list[str]()

    def too_late(source: Any, target: Any) -> None:
        if "damaged" in str(target) and not done:
            done.append(opened(place).place.path)
            opened(place).place.set_aside(shard)
        step(source, target)

    monkeypatch.setattr(module, name, too_late)
    assert repair(Store(place), 1) == 1 and done
    assert contents(place) == REPAIRED


def test_who_may_only_read_reads(bucket: str, s3_server: S3Server) -> None:
    made(opened(bucket))
    place = opened(bucket).place
    assert isinstance(place, Bucket)
    for name in names(bucket):
        if name.startswith("manifest/"):
            objects.delete(place.root / name)
    with s3_server.failing(Fault("403", "PUT", "", 999)):
        assert contents(bucket) == WHOLE
        assert made(opened(bucket))[0].cached == NUM
