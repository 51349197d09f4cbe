"""Two equal runs at once: one works, the other waits and takes its result, or says so."""

import errno
import threading
import time
from pathlib import Path

import pytest

from sip.core.errors import UserError
from sip.jobs import alone as module
from sip.jobs.alone import alone


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_EVERY", 0.05)


def test_the_second_waits_for_the_first(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    seen: list[str] = []
    started = threading.Event()

    def first() -> None:
        with alone(tmp_path, "0123456789") as waited:
            assert not waited
            started.set()
            time.sleep(0.5)
            seen.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    started.wait()
    with alone(tmp_path, "9876543210") as waited:  # another run does not wait
        assert not waited and not seen
    with alone(tmp_path, "0123456789") as waited:
        seen.append("second")
        assert waited
    thread.join()
    assert seen == ["first", "second"]
    assert capfd.readouterr().err.count("waiting for process") == 1
    assert not list((tmp_path / ".claims").glob("*.json"))


def test_one_of_several_processes_does_not_wait(tmp_path: Path) -> None:
    with (
        alone(tmp_path, "0123456789"),
        pytest.raises(UserError, match=r"run 0123456789: process \d+ on .* works on it"),
        alone(tmp_path, "0123456789", wait=False),
    ):
        raise AssertionError("entered")


def test_a_run_that_fails_is_free_again(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="failed"), alone(tmp_path, "0123456789"):
        raise ValueError("failed")
    with alone(tmp_path, "0123456789") as waited:
        assert not waited


def test_without_locks_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with alone(tmp_path, "0123456789") as waited:
        assert not waited
    assert "would not be noticed" in capfd.readouterr().err
