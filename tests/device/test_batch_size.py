"""The batch size found by trial: as large as pays and fits, and remembered."""

import json
import time
import weakref
from pathlib import Path

import pytest
import torch

from sip.core.errors import UserError
from sip.device import batch_size
from sip.device.batch_size import Halving, auto_batch_size


class Device:
    """Takes `fixed` seconds a call and `each` seconds a row; holds `fits` rows. Time is made up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fixed: float, each: float, fits: int):
        self.fixed, self.each, self.fits = fixed, each, fits
        self.now, self.calls = 0.0, []
        monkeypatch.setattr(batch_size.time, "perf_counter", lambda: self.now)

    def __call__(self, rows: int) -> None:
        self.calls.append(rows)
        if rows > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.now += self.fixed + rows * self.each


@pytest.mark.parametrize(
    ("fixed", "each", "fits", "expected"),
    [
        (0.0, 1.0, 1000, 1),  # no gain: a CPU
        (1.0, 0.1, 1000, 128),  # twice 128 rows bring less than 5 % more
        (1.0, 0.001, 1000, 256),  # the largest that is tried
        (1.0, 0.001, 20, 16),  # memory
    ],
)
def test_the_size_that_pays_and_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fixed, each, fits, expected
) -> None:
    device = Device(monkeypatch, fixed, each, fits)
    file = tmp_path / "store" / "sizes.json"
    assert auto_batch_size(file, "images X", "cpu", device) == expected
    calls = len(device.calls)
    assert auto_batch_size(file, "images X", "cpu", device) == expected
    assert len(device.calls) == calls  # remembered
    auto_batch_size(file, "images Y", "cpu", device)
    assert len(json.loads(file.read_text())) == 2 and len(device.calls) > calls


def test_slow_devices_are_not_kept_busy_by_the_trial(tmp_path, monkeypatch) -> None:
    device = Device(monkeypatch, 25.0, 0.1, 1000)
    assert auto_batch_size(tmp_path / "sizes.json", "x", "cpu", device) == 1
    assert max(device.calls) == 1


def test_one_row_that_does_not_fit_and_other_errors_are_raised(tmp_path, monkeypatch) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        auto_batch_size(tmp_path / "a.json", "x", "cpu", Device(monkeypatch, 1, 1, 0))

    def broken(rows: int) -> None:
        time.sleep(0)
        if rows > 2:
            raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        auto_batch_size(tmp_path / "b.json", "x", "cpu", broken)


def test_what_does_not_fit_is_done_in_halves(capsys: pytest.CaptureFixture) -> None:
    asked: list[int] = []

    def work(rows: slice) -> list[int]:
        asked.append(rows.stop - rows.start)
        if asked[-1] > 3:
            raise RuntimeError("CUDA out of memory")
        return list(range(100)[rows])

    pieces = Halving("captions", "another model")
    assert pieces(work, 10) == list(range(10))
    assert asked == [10, 5, 2, 2, 2, 2, 2]
    assert pieces(work, 3) == [0, 1, 2] and asked[-2:] == [2, 1]  # it has learned
    said = capsys.readouterr().err
    assert "10 rows at once do not fit into memory, going on with 5" in said


def test_one_row_that_does_not_fit_is_an_error() -> None:
    def work(rows: slice) -> list[int]:
        raise RuntimeError("out of memory")

    with pytest.raises(UserError, match="captions: a single image does not fit .*use less"):
        Halving("captions", "less")(work, 4)


def test_memory_is_freed_once_nothing_holds_the_tensors_of_the_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held: list[weakref.ref[torch.Tensor]] = []
    alive: list[bool] = []

    def work(rows: slice) -> list[int]:
        tensor = torch.zeros(3)
        held.append(weakref.ref(tensor))
        if rows.stop - rows.start > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [*range(rows.start, rows.stop)]

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: alive.append(held[-1]() is not None))
    assert Halving("images", "less")(work, 4) == [0, 1, 2, 3]
    assert alive == [False]
