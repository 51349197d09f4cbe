"""Nucleus sampling in which every row has random numbers of its own.

Source: Holtzman et al., ICLR 2020 (arXiv 1904.09751), section 3.1.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor


class NucleusSampler(LogitsProcessor):
    """Samples the next token of every row with a generator of its own.

    transformers samples all rows from one random stream, so that the captions of an image would
    depend on the other images of its batch. Here the token is sampled by inverse transform, from
    one number for each row and step, and all other tokens are ruled out: `generate` then runs in
    greedy mode.
    """

    def __init__(self, top_p: float, seeds: Sequence[int]) -> None:
        self.top_p = top_p
        # On the CPU: a GPU's generators give other numbers for the same seed.
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores (rows, vocabulary): 0 for the sampled token, else minus infinity."""
        probabilities, tokens = (
            scores.double().softmax(-1).sort(dim=-1, descending=True, stable=True)
        )
        cumulative = probabilities.cumsum(-1)
        # The nucleus: the fewest tokens that hold `top_p`. The token that crosses it is in.
        nucleus = probabilities.masked_fill(cumulative - probabilities >= self.top_p, 0.0)
        cumulative = nucleus.cumsum(-1)
        uniform = torch.cat(
            [torch.rand(1, generator=g, dtype=torch.float64) for g in self.generators]
        )
        below = cumulative <= uniform.to(scores.device)[:, None] * cumulative[:, -1:]
        sampled = tokens.gather(-1, below.sum(-1, keepdim=True))
        return torch.full_like(scores, -torch.inf).scatter_(-1, sampled, 0.0)
