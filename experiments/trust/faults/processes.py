"""Several processes on one store, clocks that go back, and claims that nobody holds any more."""

import json
import os
import shutil
import time
from pathlib import Path

from experiments.trust.faults import jobs, killing
from experiments.trust.faults.base import Outcome, fault, holds

DAY = 86400.0  # s


def _together(folder: Path, num: int) -> Outcome:
    expected = jobs.whole(killing.whole_folder())
    quick = ("runtime.shard_size=1", "runtime.batch_size.images=1")
    single = folder / "single"
    holds(jobs.generate(single, *quick).code == 0, "a single process failed")
    place = folder / "together"
    place.mkdir()
    children = [jobs.start("sip.generate", place, *quick, name=f"said{n}") for n in range(num)]
    ended = [child.wait() for child in children]
    for one in ended:
        holds(one.code == 0, "one of them failed", one)
    jobs.same(place, jobs.generated(single))  # no row is there twice
    holds(jobs.generated(single).keys() == expected.keys(), "other rows than with other batches")
    made = [jobs.made_again(one) for one in ended]
    waited = sum("waiting for" in one.said for one in ended)
    return Outcome(
        f"each: its own share, such as {made[0]}; {waited} said whom they wait for",
        "nothing: no row was made twice, same bytes as a single process",
    )


@fault("two processes on one store")
def two(folder: Path) -> Outcome:
    return _together(folder, 2)


@fault("eight processes on one store")
def eight(folder: Path) -> Outcome:
    return _together(folder, 8)


@fault("clock set back by a day between two starts")
def clock(folder: Path) -> Outcome:
    expected = jobs.whole(killing.whole_folder())
    shutil.copytree(killing.whole_folder() / "store", folder / "store")
    for stage in ("captions", "images"):
        shutil.rmtree(jobs.shards(folder, stage)[-1])

    def back() -> None:
        now, now_ns = time.time, time.time_ns
        time.time = lambda: now() - DAY
        time.time_ns = lambda: now_ns() - int(DAY * 1e9)

    ended = jobs.generate(folder, before=back)
    holds(ended.code == 0, "it failed", ended)
    jobs.same(folder, expected)
    return Outcome(ended.line("images", "cached 5, computed 5"), "nothing")


def _claim(folder: Path, claim: str, name: str, age: float) -> Path:
    """Leave a claim in the images' stage, as old as `age` s; some rows are missing there."""
    shutil.copytree(killing.whole_folder() / "store", folder / "store")
    doomed = jobs.shards(folder, "images")[-1]
    shutil.rmtree(doomed)
    file = doomed.parents[1] / "claims" / f"{name}.json"
    file.write_text(claim)
    os.utime(file, (time.time() - age,) * 2)
    unfinished = doomed.parents[1] / "tmp" / f"{name}--00-ab"
    unfinished.mkdir(parents=True)
    (unfinished / "half.png").write_bytes(b"half")
    return file


def _missing(folder: Path) -> list[str]:
    """Return the keys of the images that are not there."""
    expected = {key for key in jobs.whole(killing.whole_folder()) if key.startswith("images/")}
    return [key.partition("/")[2] for key in expected - {f"images/{key}" for key in _keys(folder)}]


def _keys(folder: Path) -> set[str]:
    from sip.store.shards import read_columns

    return {key for s in jobs.shards(folder, "images") for key in read_columns(s, ["key"])["key"]}


def _taken_over(folder: Path, claim: dict | str, name: str, age: float) -> Outcome:
    expected = jobs.whole(killing.whole_folder())
    file = _claim(folder, "", name, age)
    if isinstance(claim, dict):
        claim = json.dumps(claim | {"keys": _missing(folder)})
    file.write_text(claim)
    os.utime(file, (time.time() - age,) * 2)
    started = time.monotonic()
    ended = jobs.generate(folder)
    seconds = time.monotonic() - started
    holds(ended.code == 0, "it failed", ended)
    holds(seconds < 100, f"waited {seconds:.0f} s for nobody")
    holds(not file.exists(), "the claim is still there")
    jobs.same(folder, expected)
    return Outcome(ended.line("images", "cached 5, computed 5"), "nothing; taken over at once")


@fault("stale claim of a dead process", quick=True)
def dead_process(folder: Path) -> Outcome:
    from sip.store.claims import host_name

    jobs.whole(killing.whole_folder())
    claim = {"host": host_name(), "pid": 2**22 + 1, "started": "5"}
    return _taken_over(folder, claim, f"{host_name()}-{2**22 + 1}-ab", 0.0)


@fault("stale claim of another host")
def another_host(folder: Path) -> Outcome:
    jobs.whole(killing.whole_folder())
    claim = {"host": "elsewhere.1", "pid": 1, "started": "5"}
    return _taken_over(folder, claim, "elsewhere.1-1-ab", 600.0)


@fault("garbled claim")
def garbled(folder: Path) -> Outcome:
    jobs.whole(killing.whole_folder())
    return _taken_over(folder, '{"host": "el', "elsewhere.1-1-ab", 0.0)


@fault("claim of another host that lives, then dies")
def another_host_alive(folder: Path) -> Outcome:
    from sip.store import claims

    jobs.whole(killing.whole_folder())
    file = _claim(folder, "", "elsewhere.1-1-ab", 0.0)
    claim = {"host": "elsewhere.1", "pid": 1, "started": "5", "keys": _missing(folder)}
    file.write_text(json.dumps(claim))

    def soon() -> None:
        claims.HEARTBEAT_LIMIT = 4.0  # s, in place of two minutes

    ended = jobs.generate(folder, before=soon)
    holds(ended.code == 0, "it failed", ended)
    jobs.same(folder, jobs.whole(killing.whole_folder()))
    return Outcome(
        ended.line("waiting for", "elsewhere"),
        "2 minutes without a sign of life; then taken over",
    )
