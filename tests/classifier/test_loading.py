"""Settings of reading: what is automatic, and what is refused."""

import pytest
import torch

from sip.classifier import loading
from sip.classifier.loading import Loading
from sip.core.errors import UserError
from sip.core.threads import num_cores
from sip.jobs.train_job import TrainJob
from sip.jobs.training import fit
from tests.composing import composed

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("workers", "memory", "words"),
    [
        (-1, "auto", "loader_workers: must be a whole number >= 0 or auto, got -1"),
        ("all", "auto", "loader_workers: must be .*, got 'all'"),
        (True, "auto", "loader_workers: must be .*, got true"),
        ("auto", -0.5, "memory_gib: must be a number >= 0 or auto, got -0.5"),
        ("auto", "much", "memory_gib: must be .*, got 'much'"),
        ("auto", float("nan"), "memory_gib: must be .*, got nan"),
    ],
)
def test_wrong_settings_are_refused(workers, memory, words) -> None:
    with pytest.raises(UserError, match=f"^runtime.{words}$"):
        Loading.of({"loader_workers": workers, "memory_gib": memory})


def test_the_number_of_workers() -> None:
    auto = Loading()
    assert auto.num_workers(kept=True, device=CPU) == 0
    assert auto.num_workers(kept=False, device=CPU) == num_cores() >= 1
    assert auto.num_workers(kept=True, device=GPU) == num_cores()
    assert Loading(3).num_workers(kept=True, device=CPU) == 3
    assert Loading(num_sharing=2 * num_cores()).num_workers(kept=True, device=GPU) == 1


def test_half_of_the_free_memory_is_the_bound(monkeypatch) -> None:
    monkeypatch.setattr(loading, "available", lambda: 1001)
    assert Loading().num_bytes() == 500
    assert Loading(memory_gib=0.5).num_bytes() == 2**29
    assert Loading.of({"loader_workers": 1, "memory_gib": 2}) == Loading(1, 2)


def test_processes_of_one_machine_share_its_memory(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(loading, "available", lambda: 1001)
    assert [Loading(num_sharing=num).num_bytes() for num in (1, 2, 4)] == [500, 250, 125]
    assert Loading(memory_gib=0.5, num_sharing=8).num_bytes() == 2**26
    given: list[Loading] = []
    monkeypatch.setattr(
        "sip.classifier.train.train", lambda **values: given.append(values["loading"])
    )
    for devices in (1, 4):
        own = ["augmentation=none", f"trainer.devices={devices}", "trainer.num_nodes=3"]
        job = TrainJob(composed(*own, folder=tmp_path))
        splits = {"train": [], "val": [], "test": []}
        fit(job, job.augmentation, [], splits, tmp_path, [])
    assert [one.num_sharing for one in given] == [1, 4]
