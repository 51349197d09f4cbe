"""Settings of reading: what is automatic, and what is refused."""

import pytest
import torch

from sip.classifier import loading
from sip.classifier.loading import Loading, num_cores
from sip.core.errors import UserError

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("workers", "memory", "words"),
    [
        (-1, "auto", "runtime.loader_workers: expected auto, or 0 or more, came -1"),
        ("all", "auto", "runtime.loader_workers: .* came 'all'"),
        (True, "auto", "runtime.loader_workers: .* came True"),
        ("auto", -0.5, "runtime.memory_gib: expected auto, or 0 or more, came -0.5"),
        ("auto", "much", "runtime.memory_gib: .* came 'much'"),
        ("auto", float("nan"), "runtime.memory_gib: .* came nan"),
    ],
)
def test_wrong_settings_are_refused(workers, memory, words) -> None:
    with pytest.raises(UserError, match=words):
        Loading(workers, memory)


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
