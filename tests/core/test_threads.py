"""Reading ahead and writing behind: in order, bounded, and no error is lost."""

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from sip.core.interrupt import Stopped, graceful
from sip.core.threads import Behind, prefetch


def test_results_come_in_order_with_their_items() -> None:
    def slow_first(item: int) -> int:
        time.sleep(0.05 if item % 3 == 0 else 0)
        return item * 10

    with prefetch(iter(range(12)), slow_first, num_threads=3, ahead=4) as ready:
        assert list(ready) == [(item, item * 10) for item in range(12)]


def test_only_a_few_items_are_pulled_ahead() -> None:
    pulled = []

    def items() -> Iterator[int]:
        for item in range(1000):
            pulled.append(item)
            yield item

    with prefetch(items(), lambda item: item, num_threads=2, ahead=3) as ready:
        next(ready)
        time.sleep(0.3)
        assert len(pulled) <= 6
    assert len(pulled) <= 7  # and the thread that pulls has ended


@pytest.mark.parametrize("where", ["items", "read"])
def test_errors_come_where_the_result_would(where: str) -> None:
    def items() -> Iterator[int]:
        yield 1
        if where == "items":
            raise ValueError("two")
        yield 2

    def read(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    got = []
    with (
        pytest.raises(ValueError, match="two"),
        prefetch(items(), read, num_threads=1, ahead=1) as ready,
    ):
        for entry in ready:
            got.append(entry)
    assert got == [(1, 1)]
    names = {thread.name for thread in threading.enumerate()}
    assert not any(name.startswith(("prefetch", "read")) for name in names)


def test_nothing_more_is_handed_out_after_a_stop(capsys: pytest.CaptureFixture) -> None:
    got = []
    with (
        pytest.raises(Stopped, match="SIGTERM") as stop,
        graceful(),
        prefetch(iter(range(100)), lambda item: item, num_threads=1, ahead=5) as ready,
    ):
        for item, _ in ready:
            got.append(item)
            if item == 3:
                signal.raise_signal(signal.SIGTERM)
    assert got == [0, 1, 2, 3] and stop.value.signum == signal.SIGTERM
    assert "finishing the current batch" in capsys.readouterr().err


def test_the_second_signal_stops_at_once() -> None:
    reached = []
    with pytest.raises(Stopped), graceful():
        signal.raise_signal(signal.SIGINT)
        reached.append("first")
        signal.raise_signal(signal.SIGINT)
        reached.append("second")
    assert reached == ["first"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_behind_works_in_order_and_waits_at_the_end() -> None:
    done = []

    def work(item: int) -> None:
        time.sleep(0.01)
        done.append(item)

    with Behind(work, capacity=2) as behind:
        for item in range(10):
            behind.put(item)
    assert done == list(range(10))


def test_behind_is_bounded() -> None:
    gate, taken = threading.Event(), []

    def work(item: int) -> None:
        taken.append(item)
        gate.wait(5)

    with Behind(work, capacity=2) as behind:
        for item in range(3):
            behind.put(item)
        blocked = threading.Thread(target=behind.put, args=(3,))
        blocked.start()
        blocked.join(0.2)
        assert blocked.is_alive()
        gate.set()
        blocked.join(5)
    assert taken == [0, 1, 2, 3]


def test_an_error_behind_is_raised_in_front_and_what_waits_is_dropped() -> None:
    def work(item: int) -> None:
        if item == 1:
            raise ValueError("disk full")

    with pytest.raises(ValueError, match="disk full"), Behind(work, capacity=1) as behind:
        for item in range(100):
            behind.put(item)
            time.sleep(0.01)
        pytest.fail("the error was too late")
    with pytest.raises(ValueError, match="disk full"), Behind(work, capacity=5) as behind:
        behind.put(1)  # the last one: raised when the block ends


def test_finished_work_is_stored_although_the_front_fails() -> None:
    done = []
    with pytest.raises(KeyError), Behind(done.append, capacity=5) as behind:
        behind.put(1)
        behind.put(2)
        raise KeyError
    assert done == [1, 2]
