"""Half a cosine, down to 0 (Loshchilov & Hutter, ICLR 2017, arXiv 1608.03983, no restarts)."""

import math

from sip.core.component import Component, component


@component
class Cosine(Component):
    """From 1 at the end of the warm-up to 0 behind the last step."""

    def __call__(self, progress: float) -> float:
        """Return the share of the highest learning rate."""
        return 0.5 * (1 + math.cos(math.pi * progress))
