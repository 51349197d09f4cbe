"""What all executors promise: the same rows and bytes, once each, whatever happens in between."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from sip.executor.base import Executor
from sip.executor.local import Local
from sip.executor.static import Static
from sip.jobs.generate import Generation
from tests.executor.toy import Toy, expected, rows, stage, together, work
from tests.kills import configuration

NUM = 40
WORKERS: dict[str, Callable[[], Sequence[Executor]]] = {
    "local": lambda: [Local(), Local()],
    "static": lambda: [Static(0, 2, 60.0), Static(1, 2, 60.0)],
}


@pytest.fixture(params=list(WORKERS))
def workers(request: pytest.FixtureRequest) -> Sequence[Executor]:
    """The executors of the jobs that share the work."""
    return WORKERS[request.param]()


def test_rows_and_bytes_are_those_of_an_unbroken_job(
    tmp_path: Path, workers: Sequence[Executor]
) -> None:
    toys = [Toy() for _ in workers]
    filled = together(
        [partial(work, tmp_path, *each, NUM) for each in zip(workers, toys, strict=True)]
    )
    made = rows(tmp_path)
    assert dict(made) == expected(NUM) and len(made) == NUM, "a row was made twice"
    assert sum(each.computed for each in filled) == NUM
    assert all(list(each.rows) == list(expected(NUM)) for each in filled), "a worker went on early"
    assert all(each.computed + each.waited + each.cached == NUM for each in filled)
    assert not list(stage(tmp_path).tmp.iterdir())


def test_a_later_start_makes_only_what_is_new(tmp_path: Path, workers: Sequence[Executor]) -> None:
    first = NUM // 2 // 3 * 3  # whole batches
    together([partial(work, tmp_path, each, Toy(), first) for each in workers])
    toys = [Toy() for _ in workers]
    together([partial(work, tmp_path, *each, NUM) for each in zip(workers, toys, strict=True)])
    assert min(number for toy in toys for batch in toy.batches for number in batch) == first
    assert dict(rows(tmp_path)) == expected(NUM) and len(rows(tmp_path)) == NUM


def test_an_error_keeps_what_was_made_and_the_same_call_goes_on(
    tmp_path: Path, workers: Sequence[Executor]
) -> None:
    def fail(batch: list[int]) -> None:
        if 18 in batch or 21 in batch:  # one of each worker's
            raise ValueError("broken")

    results = together([partial(work, tmp_path, each, Toy(fail), NUM) for each in workers])
    assert any(isinstance(each, ValueError) for each in results)
    before = len(rows(tmp_path))
    assert 0 < before < NUM
    toys = [Toy() for _ in workers]
    together([partial(work, tmp_path, *each, NUM) for each in zip(workers, toys, strict=True)])
    assert sum(len(batch) for toy in toys for batch in toy.batches) == NUM - before
    assert dict(rows(tmp_path)) == expected(NUM) and len(rows(tmp_path)) == NUM


def test_failed_rows_stay_until_they_are_asked_for(
    tmp_path: Path, workers: Sequence[Executor]
) -> None:
    together([partial(work, tmp_path, each, Toy(), NUM) for each in workers])
    failed = [key for key, (status, _) in expected(NUM).items() if status == "failed"]
    assert stage(tmp_path).failed(expected(NUM)) == failed and len(failed) == 5
    filled = together([partial(work, tmp_path, each, Toy(), NUM) for each in workers])
    assert [each.computed for each in filled] == [0] * len(workers)
    toys = [Toy() for _ in workers]
    retry = {"retry_failed": True}
    together(
        [partial(work, tmp_path, *each, NUM, **retry) for each in zip(workers, toys, strict=True)]
    )
    made = [f"k{number:03d}" for toy in toys for batch in toy.batches for number in batch]
    assert set(made) == set(failed)


@pytest.mark.parametrize("choice", ["local", "static"])
def test_the_plan_is_the_same(tmp_path: Path, choice: str) -> None:
    config = configuration(tmp_path, f"executor={choice}", "plan=true")
    plan = Generation(config).plan()
    assert plan.line().startswith("40 to generate, 0 cached; 160 U-Net evaluations")
