"""The scale of the plot next to the table: accuracies to positions and round ticks."""

import math
from collections.abc import Sequence

from sip.report.results import Arm

NUM_TICKS = 5  # about
MARGIN = 0.05  # of the range, left and right


class Scale:
    """Map accuracies to positions in %.

    Args:
        arms: Arms whose values must fit.
    """

    def __init__(self, arms: Sequence[Arm]) -> None:
        ends = [end for arm in arms for end in (*arm.values, *(arm.interval or ()))]
        low, high = min(ends, default=0.0), max(ends, default=100.0)
        if high - low < 1e-9:
            low, high = low - 0.5, high + 0.5
        margin = (high - low) * MARGIN
        self.low, self.high = low - margin, high + margin

    def at(self, value: float) -> str:
        """Return the position of a value."""
        return f"{100 * (value - self.low) / (self.high - self.low):.2f}%"

    def ticks(self) -> list[float]:
        """Return round numbers within the range."""
        step = self._step()
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [n * step for n in range(first, last + 1) if 0 <= n * step <= 100]

    def label(self, tick: float) -> str:
        """Return a tick as text, with the digits that tell it from the next one."""
        return f"{tick:.{max(0, -math.floor(math.log10(self._step())))}f}"

    def _step(self) -> float:
        """Return the distance of two ticks: 1, 2 or 5 times a power of ten."""
        raw = (self.high - self.low) / NUM_TICKS
        power = 10.0 ** math.floor(math.log10(raw))
        return next(s * power for s in (1, 2, 5, 10) if s * power >= raw)
