"""Whether something is done to a batch."""


def happens(prob: float) -> bool:
    """Return True with a probability; certainty costs no random number."""
    import torch

    return prob >= 1 or bool(torch.rand(()) < prob)
