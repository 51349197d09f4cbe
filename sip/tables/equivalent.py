"""Gains as equivalent shots: how many real images a class without augmentation would do the same.

The curve of the row without augmentation over the shots, a mean over the seeds made non-decreasing,
is read backwards at its own value plus an arm's paired gain, seed by seed; linear in log2 of the
shots between its points. Beyond its ends a number would be made up: it is "more than" the last
point, or "less than" the first one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sip.tables.cells import Place, TableCell
from sip.tables.layout import NONE, TableLayout, is_number
from sip.tables.statistics import Estimate, estimate


@dataclass(frozen=True)
class Equivalent:
    """What a row is worth.

    Attributes:
        shots: Shots of the row.
        worth: Equivalent shots: mean and interval over the seeds.
        num_above, num_below: Seeds whose value is above the curve's last point, or below its first
            one, at which they are counted.
    """

    block: str
    row: str
    shots: float
    worth: Estimate
    num_above: int
    num_below: int

    @property
    def text(self) -> str:
        """The number with its interval; "> 16" or "< 2" if a seed is beyond an end of the curve.

        "-" if seeds are beyond both ends.
        """
        if self.num_above and self.num_below:
            return "-"
        if self.num_above or self.num_below:
            return f"{'>' if self.num_above else '<'} {self.worth.mean:.1f} ({self.worth.num})"
        half = "" if self.worth.half_width is None else f" ± {self.worth.half_width:.1f}"
        return f"{self.worth.mean:.1f}{half} ({self.worth.num})"


def equivalents(found: Mapping[Place, TableCell], layout: TableLayout) -> list[Equivalent]:
    """Return what each row is worth at each number of shots, block by block.

    Columns that are no numbers are left out, and blocks without a curve of two points.
    """
    results = []
    for block in sorted({block for block, _, _ in found}):
        here = {(row, column): cell for (b, row, column), cell in found.items() if b == block}
        cells = {(row, _shots(column)): cell for (row, column), cell in here.items()}
        curve = {number: cell for (row, number), cell in cells.items() if row == NONE and number}
        if len(curve) < 2:
            continue
        shots = np.array(sorted(curve))
        means = np.maximum.accumulate([curve[number].estimate.mean for number in shots])
        for row in layout.order({row for row, _ in here} - {NONE}):
            for number in shots:
                cell = cells.get((row, number))
                seeds = sorted(cell.values.keys() & curve[number].values.keys()) if cell else []
                if cell is None or not seeds:
                    continue
                level = float(np.interp(number, shots, means))
                gains = [cell.values[seed] - curve[number].values[seed] for seed in seeds]
                values = [_worth(level + gain, shots, means) for gain in gains]
                above = sum(level + gain > means[-1] for gain in gains)
                below = sum(level + gain < means[0] for gain in gains)
                ends = int(above), int(below)
                results.append(Equivalent(block, row, number, estimate(values), *ends))
    return results


def _worth(value: float, shots: np.ndarray, means: np.ndarray) -> float:
    """Return the shots at which the curve first has a value; its ends bound them."""
    first = int(np.searchsorted(means, value))
    if first == 0:
        return float(shots[0])
    if first == len(means):
        return float(shots[-1])
    share = (value - means[first - 1]) / (means[first] - means[first - 1])
    low, high = np.log2(shots[first - 1 : first + 1])
    return float(2 ** (low + share * (high - low)))


def _shots(column: str) -> float:
    """Return a column's number of shots; 0 if it is none."""
    return float(column) if is_number(column) else 0.0
