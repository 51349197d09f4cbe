"""Whether something is done to a batch."""

import torch


def happens(prob: float) -> bool:
    """Return True with a probability; certainty costs no random number."""
    return prob >= 1 or bool(torch.rand(()) < prob)
