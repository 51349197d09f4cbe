"""The order in which images are seen: one random order of a pool after the other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sip.core.hashing import seed_of

if TYPE_CHECKING:
    from torch import Tensor


def passes(pool: Sequence[int], length: int, seed: int) -> "Tensor":
    """Return `length` members of the pool, each once a pass: (length,), int64.

    A longer order begins with the shorter one of the same seed.
    """
    import torch

    generator = torch.Generator().manual_seed(seed_of(seed, "order"))
    num = len(pool)
    order = torch.empty(length, dtype=torch.int64)
    for start in range(0, length, num):
        order[start : start + num] = torch.randperm(num, generator=generator)[: length - start]
    return order if pool == range(num) else torch.tensor(pool)[order]
