"""Samples follow the nucleus's distribution."""

import pytest
import torch
from transformers import TopPLogitsWarper

from sip.captions.nucleus import NucleusSampler


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 1.0])
def test_samples_follow_the_nucleus_distribution(top_p):
    """Frequencies against transformers' own filter, by a chi-squared test a row of logits."""
    from scipy.stats import chisquare

    num_samples = 4000
    for seed in range(3):
        logits = 2 * torch.randn(1, 30, generator=torch.Generator().manual_seed(seed))
        logits[0, 7] = -torch.inf  # as if the end token is not allowed yet
        sample = NucleusSampler(top_p, range(seed * num_samples, (seed + 1) * num_samples))
        sampled = sample(torch.zeros(num_samples, 1), logits.expand(num_samples, -1))
        assert ((sampled == 0).sum(-1) == 1).all() and ((sampled == -torch.inf).sum(-1) == 29).all()
        counts = sampled.argmax(-1).bincount(minlength=30)
        expected = TopPLogitsWarper(top_p)(torch.zeros(1, 1), logits).softmax(-1)[0].double()
        assert not counts[expected == 0].any()  # nothing outside the nucleus, ever
        inside = expected > 0
        frequencies = expected[inside] / expected[inside].sum() * num_samples
        if inside.sum() > 1:
            assert chisquare(counts[inside], frequencies).pvalue > 1e-4
