"""Progress bars with rate and time left, and lines above them, on terminals and in log files."""

import sys
from typing import Any

from tqdm import tqdm

# Of several processes of one job, only the first prints; `devices.launch` sets it.
is_first = True


class Progress(tqdm):
    """A tqdm bar whose `update` also takes values to show behind the rate."""

    def update(self, n: float | None = 1, **shown: Any) -> bool | None:
        """Advance by `n` and show `shown` behind the rate."""
        if shown:
            self.set_postfix(shown, refresh=False)
        return super().update(n)


def progress(name: str, total: int, unit: str, delay: float = 0) -> Progress:
    """Return a bar for one stage; outside a terminal it prints a line every 10 s at most.

    Args:
        delay: Seconds until it is shown at all.
    """
    interval = 0.2 if sys.stderr.isatty() else 10.0
    return Progress(
        total=total,
        desc=f"{name:<12}",
        unit=unit,
        mininterval=interval,
        dynamic_ncols=True,
        delay=delay,
        disable=not is_first,
    )


def say(name: str, text: str) -> None:
    """Print one line about a stage, above the progress bars."""
    if is_first:
        tqdm.write(f"{name:<12} {text}", sys.stderr)
        sys.stderr.flush()
