"""The plot beside the table: for each arm its seeds, their mean and its interval, on one scale.

Every row is an SVG as wide as its cell; positions are shares of the width, so that it is sharp and
right on any screen. Colours come from the page's style.
"""

import math
from collections.abc import Sequence

from sip.report.html import Html, tag
from sip.report.results import Arm

HEIGHT = 30  # px, of a row
NUM_TICKS = 5  # about
MARGIN = 0.05  # of the range, left and right


class Scale:
    """Values to positions in %.

    Args:
        arms: Whose values must fit.
    """

    def __init__(self, arms: Sequence[Arm]) -> None:
        ends = [end for arm in arms for end in (*arm.values, *interval(arm))]
        low, high = min(ends), max(ends)
        if high - low < 1e-9:
            low, high = low - 0.5, high + 0.5
        margin = (high - low) * MARGIN
        self.low, self.high = low - margin, high + margin

    def at(self, value: float) -> str:
        """Return the position of a value."""
        return f"{100 * (value - self.low) / (self.high - self.low):.2f}%"

    def ticks(self) -> list[float]:
        """Return round numbers within the range."""
        raw = (self.high - self.low) / NUM_TICKS
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(s * power for s in (1, 2, 5, 10) if s * power >= raw)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [n * step for n in range(first, last + 1) if 0 <= n * step <= 100]


def interval(arm: Arm) -> tuple[float, float]:
    """Return the ends of an arm's interval within [0, 100]; twice its mean where it has none."""
    half = arm.accuracy.half_width or 0.0
    return max(0.0, arm.accuracy.mean - half), min(100.0, arm.accuracy.mean + half)


def row(arm: Arm, scale: Scale, control: Arm | None) -> Html:
    """Return an arm's row of the plot."""
    middle = HEIGHT // 2
    drawn = [_upright(scale.at(tick), "grid") for tick in scale.ticks()]
    if control is not None:
        drawn.append(_upright(scale.at(control.accuracy.mean), "control"))
    if arm.accuracy.half_width is not None:
        low, high = (scale.at(end) for end in interval(arm))
        drawn.append(tag("line", x1=low, x2=high, y1=middle, y2=middle, class_="interval"))
    drawn += [tag("circle", cx=scale.at(v), cy=middle, r=2.5, class_="seed") for v in arm.values]
    mean = scale.at(arm.accuracy.mean)
    drawn.append(tag("circle", cx=mean, cy=middle, r=5.5, class_="mean"))
    kind = "plot clear" if arm.is_clear else "plot"
    if arm is control:
        kind = "plot is-control"
    return tag("svg", *drawn, class_=kind, height=HEIGHT, width="100%", aria_hidden="true")


def axis(scale: Scale) -> Html:
    """Return the row with the numbers under the plot."""
    ticks = scale.ticks()
    digits = 0 if all(abs(tick - round(tick)) < 1e-9 for tick in ticks) else 1
    texts = [
        tag("text", f"{tick:.{digits}f}", x=scale.at(tick), y=13, text_anchor="middle")
        for tick in ticks
    ]
    return tag("svg", *texts, class_="plot axis", height=18, width="100%", aria_hidden="true")


def _upright(x: str, kind: str) -> Html:
    return tag("line", x1=x, x2=x, y1=0, y2=HEIGHT, class_=kind)
