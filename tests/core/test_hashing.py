"""Seeding for a while: torch's own numbers, and the state before comes back."""

import pytest
import torch

from sip.core.hashing import seed_of, seeded


def numbers() -> list[float]:
    return [*torch.rand(3).tolist(), *torch.randn(3).tolist(), *torch.randperm(5).tolist()]


def test_the_numbers_are_those_of_manual_seed() -> None:
    for seed in (0, 1, seed_of("a", 3), 2**63 - 1):
        torch.manual_seed(seed)
        expected = numbers()
        with seeded(seed, torch.device("cpu")):
            assert numbers() == expected


def test_the_state_before_comes_back() -> None:
    torch.manual_seed(5)
    expected = numbers()
    torch.manual_seed(5)
    with seeded(1):
        numbers()
    with pytest.raises(KeyError), seeded(2):
        torch.rand(1)
        raise KeyError
    assert numbers() == expected


@pytest.mark.gpu
def test_a_gpu_is_seeded_too() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    torch.manual_seed(3)
    expected = torch.rand(4, device=device)
    with seeded(3, device):
        assert torch.equal(torch.rand(4, device=device), expected)
