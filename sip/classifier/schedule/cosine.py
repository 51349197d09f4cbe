"""Half a cosine, down to 0 (Loshchilov & Hutter, ICLR 2017, arXiv 1608.03983, no restarts)."""

import math


class Cosine:
    """From 1 at the end of the warm-up to 0 behind the last step."""

    def recipe(self) -> dict:
        """Return everything that decides the shares."""
        return {"class": "sip.classifier.schedule.cosine.Cosine", "version": 1}

    def __call__(self, progress: float) -> float:
        """Return the share of the highest learning rate."""
        return 0.5 * (1 + math.cos(math.pi * progress))
