"""Settings of reading: what is automatic, and what is refused."""

import pytest
import torch

from sip.classifier import loading
from sip.classifier.loading import Loading
from sip.core.errors import UserError
from sip.core.threads import num_cores

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


def test_half_of_the_free_memory_is_the_bound(monkeypatch) -> None:
    monkeypatch.setattr(loading, "available", lambda: 1001)
    assert Loading().num_bytes() == 500
    assert Loading(memory_gib=0.5).num_bytes() == 2**29
    assert Loading.of({"loader_workers": 1, "memory_gib": 2}) == Loading(1, 2)
