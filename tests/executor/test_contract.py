"""What all executors promise: the same rows and bytes, once each, whatever happens in between."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from sip.executor import driver
from sip.executor.base import Executor
from sip.executor.local import Local
from sip.executor.pool import ActorPool
from sip.executor.ray import Ray
from sip.executor.static import Static
from sip.jobs.generate import Generation
from sip.store.fill import Filled
from sip.store.order import compact
from tests.executor.fake_ray import FakeRay
from tests.executor.toy import Toy, expected, rows, stage, together, work
from tests.kills import configuration

NUM = 40
OF_RAY = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # starts a cluster
WORKERS: dict[str, Callable[[], Sequence[Executor]]] = {
    "local": lambda: [Local(), Local()],
    "static": lambda: [Static(0, 2, 60.0), Static(1, 2, 60.0)],
    "fake_ray": lambda: [Ray(*[ActorPool(1, 3, 1.0, None)] * 3)],
    "ray": lambda: [Ray(*[ActorPool(1, 2, 0.5, None)] * 3)],
}


@pytest.fixture(params=["local", "static", "fake_ray", pytest.param("ray", marks=OF_RAY)])
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Sequence[Executor]:
    """The executors of the jobs that share the work; of those of Ray the driver is one."""
    if request.param == "fake_ray":
        fake = FakeRay()
        fake.lose = lambda ref: fake.random.random() < 0.1
        monkeypatch.setattr(driver, "connected", lambda: fake)
    if request.param == "ray":
        pytest.importorskip("ray", reason="pip install -e '.[ray]' brings it")
    return WORKERS[request.param]()


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where the store is."""
    return tmp_path if request.param == "folder" else request.getfixturevalue("bucket")


def test_rows_and_bytes_are_those_of_an_unbroken_job(
    place: Path | str, workers: Sequence[Executor]
) -> None:
    filled = together([partial(work, place, each, Toy(), NUM) for each in workers])
    made = rows(place)
    assert dict(made) == expected(NUM) and len(made) == NUM, "a row was made twice"
    assert sum(each.computed for each in filled) == NUM
    assert all(list(each.rows) == list(expected(NUM)) for each in filled), "a worker went on early"
    assert all(each.computed + each.waited + each.cached == NUM for each in filled)
    assert not list(stage(place).tmp.iterdir())


def test_a_later_start_makes_only_what_is_new(
    place: Path | str, workers: Sequence[Executor]
) -> None:
    first = NUM // 2 // 3 * 3  # whole batches
    together([partial(work, place, each, Toy(), first) for each in workers])
    filled = together([partial(work, place, each, Toy(), NUM) for each in workers])
    assert sum(each.computed for each in filled) == NUM - first
    assert {each.cached for each in filled} == {first}
    assert dict(rows(place)) == expected(NUM) and len(rows(place)) == NUM


def test_an_error_keeps_what_was_made_and_the_same_call_goes_on(
    place: Path | str, workers: Sequence[Executor]
) -> None:
    broken = Toy(breaks_at=(18, 21))  # one of each worker's
    results = together([partial(work, place, each, broken, NUM) for each in workers])
    assert any(isinstance(each, ValueError) for each in results)
    before = len(rows(place))
    assert 0 < before < NUM
    filled = together([partial(work, place, each, Toy(), NUM) for each in workers])
    assert sum(each.computed for each in filled) == NUM - before
    assert dict(rows(place)) == expected(NUM) and len(rows(place)) == NUM


def test_failed_rows_stay_until_they_are_asked_for(
    place: Path | str, workers: Sequence[Executor]
) -> None:
    together([partial(work, place, each, Toy(), NUM) for each in workers])
    failed = [key for key, (status, _) in expected(NUM).items() if status == "failed"]
    assert stage(place).failed(expected(NUM)) == failed and len(failed) == 5
    filled = together([partial(work, place, each, Toy(), NUM) for each in workers])
    assert [each.computed for each in filled] == [0] * len(workers)
    together([partial(work, place, each, Toy(), NUM, retry_failed=True) for each in workers])
    again = [key for key, _ in rows(place)[NUM:]]
    assert set(again) == set(failed) and len(again) < 2 * len(failed) + 1


def test_shards_are_joined_meanwhile(place: Path | str, workers: Sequence[Executor]) -> None:
    is_over = threading.Event()
    joined = []

    def keep_order() -> None:
        while not is_over.wait(0.02):
            joined.append(compact(stage(place).place, NUM)[0])

    def job(each: Executor) -> Filled:
        return work(place, each, Toy(pause=0.02), NUM)

    keeper = threading.Thread(target=keep_order)
    keeper.start()
    try:
        filled = together([partial(job, each) for each in workers])
    finally:
        is_over.set()
        keeper.join()
    assert sum(joined) > 0
    assert dict(rows(place)) == expected(NUM) and len(rows(place)) == NUM
    assert sum(each.computed for each in filled) == NUM
    assert compact(stage(place).place, NUM)[1] <= 1
    assert dict(rows(place)) == expected(NUM) and len(rows(place)) == NUM


@pytest.mark.parametrize("choice", ["local", "static", "ray"])
def test_the_plan_is_the_same(tmp_path: Path, choice: str) -> None:
    config = configuration(tmp_path, f"executor={choice}", "plan=true")
    plan = Generation(config).plan()
    assert plan.line().startswith("40 to generate, 0 cached; 160 U-Net evaluations")
