"""Trainer.predict as generation uses it: quiet, interruptible, and independent of others."""

import gc
import os
import signal
import threading
import time
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sip.core.interrupt import Stopped, graceful
from sip.device.batches import ImageBatch
from sip.device.independent import prediction_trainer
from sip.device.module import PredictionModule
from sip.device.predict import predict
from sip.device.settings import Devices, Runtime

RUNTIME = Runtime.cpu()


class Doubling(PredictionModule):
    """Returns twice each number; `fits` is the largest batch it can hold."""

    def __init__(self, fits: int = 1000) -> None:
        super().__init__("doubling", "smaller numbers")
        self.layer = torch.nn.Linear(2, 2)
        self.fits = fits
        self.moved = 0
        self.inference: list[bool] = []

    def transfer_batch_to_device(self, batch: Any, device: torch.device, index: int) -> Any:
        self.moved += 1
        return super().transfer_batch_to_device(batch, device, index)

    def rows(self, batch: ImageBatch[int]) -> list[int]:
        if len(batch) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.inference.append(torch.is_inference_mode_enabled())
        assert batch.pixels is not None and batch.pixels.device == self.device
        return [2 * int(number) for number in batch.pixels]


def read(numbers: list[int]) -> ImageBatch[int]:
    return ImageBatch(numbers, [None] * len(numbers), torch.tensor(numbers))


def batches(num: int) -> list[list[int]]:
    return [[2 * n, 2 * n + 1] for n in range(num)]


def run(module: PredictionModule, num: int, rows: list[int]) -> None:
    predict(module, iter(batches(num)), read, rows.extend, RUNTIME, Devices())


def test_rows_come_in_order_and_through_the_hooks_of_lightning() -> None:
    module, rows = Doubling(), []
    run(module, 20, rows)
    assert rows == [2 * n for n in range(40)]
    assert module.moved == 20 and module.inference == [True] * 20
    run(module, 1, rows)  # again, with the same Trainer
    assert rows[40:] == [0, 2]
    run(module, 0, rows)
    assert len(rows) == 42


def test_nothing_is_printed_no_warning_is_given_and_no_random_number_is_used(capfd) -> None:
    module = Doubling()
    before = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(module, 3, [])
    assert torch.equal(torch.get_rng_state(), before)
    assert capfd.readouterr() == ("", "")


def test_a_batch_that_does_not_fit_is_halved(capfd) -> None:
    module, rows = Doubling(fits=1), []
    run(module, 3, rows)
    assert rows == [0, 2, 4, 6, 8, 10] and len(module.inference) == 6
    assert "2 rows at once do not fit into memory, going on with 1" in capfd.readouterr().err


def test_a_stage_costs_milliseconds() -> None:
    module = Doubling()
    run(module, 1, [])
    fastest = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        run(module, 1, [])
        fastest = min(fastest, time.perf_counter() - started)
    assert fastest < 0.02


def test_dropping_a_module_frees_it() -> None:
    module = Doubling()
    gone = weakref.ref(module)
    run(module, 3, [])
    del module
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("where", ["batches", "read", "rows", "write"])
def test_an_error_is_raised_and_what_was_finished_is_stored(where: str) -> None:
    module, rows = Doubling(), []

    def fail(here: str, number: int) -> None:
        if where == here and number >= 6:
            raise ValueError(f"bad {here}")

    def inputs() -> Iterator[list[int]]:
        for batch in batches(100):
            fail("batches", batch[0])
            yield batch

    def reading(numbers: list[int]) -> ImageBatch[int]:
        fail("read", numbers[0])
        return read(numbers)

    def store(found: list[int]) -> None:
        fail("write", found[0])
        rows.extend(found)

    real = module.rows
    module.rows = lambda batch: (fail("rows", batch.items[0]), real(batch))[1]  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=f"bad {where}"):
        predict(module, inputs(), reading, store, RUNTIME, Devices())
    finished = {"batches": 4, "read": 4, "rows": 6, "write": 4}  # one batch is fetched in advance
    assert rows == [2 * n for n in range(len(rows))] and len(rows) >= finished[where]
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]
    rows.clear()
    run(Doubling(), 2, rows)  # the Trainer is as good as new
    assert rows == [0, 2, 4, 6]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("times", [1, 2])
def test_signals_are_ours(number: signal.Signals, times: int) -> None:
    module, rows = Doubling(), []
    real = module.rows
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]

    def interrupted(batch: ImageBatch[int]) -> list[int]:
        if batch.items[0] == 4:
            for _ in range(times):
                os.kill(os.getpid(), number)
                time.sleep(0.01)
        return real(batch)

    module.rows = interrupted  # type: ignore[method-assign]
    with pytest.raises(Stopped) as stopped, graceful():
        run(module, 50, rows)
    assert stopped.value.signum == number
    # After the first the current batch is finished, and none after it; the second ends it.
    assert rows == ([0, 2, 4, 6, 8, 10] if times == 1 else [0, 2, 4, 6])
    after = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    assert after == before


def test_slurm_queues_the_job_again_without_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/called\n')
    (tmp_path / "scontrol").chmod(0o755)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    names = ("JOB_ID", "NTASKS", "PROCID", "LOCALID", "NODEID", "NODELIST", "JOB_NAME")
    for name, value in zip(names, ("77", "1", "0", "0", "0", "localhost", "sip"), strict=True):
        monkeypatch.setenv(f"SLURM_{name}", value)
    module, rows = Doubling(), []
    real = module.rows

    def signalled(batch: ImageBatch[int]) -> list[int]:
        if batch.items[0] == 2:
            os.kill(os.getpid(), signal.SIGUSR1)  # as sbatch --signal=USR1@90 asks for
        return real(batch)

    module.rows = signalled  # type: ignore[method-assign]
    prediction_trainer.cache_clear()
    try:
        run(module, 3, rows)
    finally:
        prediction_trainer.cache_clear()
    assert (tmp_path / "called").read_text() == "requeue 77\n"
    assert rows == [0, 2, 4, 6, 8, 10] and not list((tmp_path / "work").iterdir())


def test_no_process_waits_for_another() -> None:
    trainer = prediction_trainer("cpu", Devices(2, 3, "ddp"))
    strategy = trainer.strategy
    assert (strategy.world_size, strategy.num_processes, trainer.num_nodes) == (6, 2, 3)
    assert strategy.launcher is None and not torch.distributed.is_initialized()
    strategy.barrier("never")
    assert strategy.broadcast("a") == "a" and strategy.reduce_boolean_decision(True)
    assert torch.equal(strategy.reduce(torch.ones(1)), torch.ones(1))
    rows: list[int] = []
    predict(Doubling(), iter(batches(2)), read, rows.extend, RUNTIME, Devices(2, 3, "ddp"))
    assert rows == [0, 2, 4, 6]  # alone in a world of six
    assert not torch.distributed.is_initialized()
