"""Two equal runs at once: one works, the other waits and takes its result, or says so."""

import errno
import threading
import time
from pathlib import Path

import pytest

from sip.backbone.saved import FOLDER, WEIGHTS
from sip.core.errors import UserError
from sip.core.progress import silent
from sip.core.stages import StageLog
from sip.jobs import alone as module
from sip.jobs.alone import alone
from sip.jobs.control import control_of
from sip.jobs.train_job import TrainJob
from sip.jobs.training import run
from tests.composing import composed
from tests.records.made_up import training_summary, write_run


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


def test_an_equal_run_that_ended_meanwhile_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish(job: TrainJob) -> None:
        """Do what an equal job does while this one checks its settings."""
        write_run(job.folder, training_summary(fingerprint=job.fingerprint, recipe=job.recipe))

    made = training_summary(fingerprint="made again")
    monkeypatch.setattr("sip.jobs.training.require", finish)
    monkeypatch.setattr("sip.jobs.training._run", lambda job: made)
    own = ["augmentation=none", "dataset.shots=1"]
    job = TrainJob(composed(*own, folder=tmp_path))
    assert run(job).fingerprint == job.fingerprint
    assert run(TrainJob(composed(*own, "train.reuse=false", folder=tmp_path))) is made
    assert run(TrainJob(composed(*own, "retry=failed", folder=tmp_path))) is made


def test_two_jobs_train_one_control(tmp_path: Path) -> None:
    trained: list[Path] = []

    def train(folder: Path) -> None:
        trained.append(folder)
        time.sleep(0.3)
        (folder / FOLDER).mkdir(parents=True)
        (folder / FOLDER / WEIGHTS).touch()

    def control() -> None:
        recipe = {"seed": 0, "augmentation": {}, "offline": {}}
        places = (tmp_path / "runs", tmp_path / "store")
        with silent():
            found.append(control_of(recipe, *places, train, log := StageLog()))
        logs.append(log)

    found: list[Path] = []
    logs: list[StageLog] = []
    threads = [threading.Thread(target=control) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(trained) == 1 and found == [trained[0] / FOLDER] * 2
    assert sorted((row["cached"], row["computed"]) for log in logs for row in log.rows) == [
        (0, 1), (1, 0),
    ]  # fmt: skip
