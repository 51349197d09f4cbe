"""How much memory this process may still take, and when Python looks for what it can free."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from sip.core.cgroups import groups


@contextmanager
def collection(is_on: bool) -> Iterator[None]:
    """Turn the search for garbage in cycles on or off meanwhile.

    Without it, a million small objects, none of which is in a cycle, take two thirds of the time.
    """
    was_on = gc.isenabled()
    (gc.enable if is_on else gc.disable)()
    try:
        yield
    finally:
        (gc.enable if was_on else gc.disable)()


def available() -> int:
    """Return the free memory in bytes: the machine's, or what a container or job may still use."""
    import psutil

    return min([psutil.virtual_memory().available, *_limits()])


def _limits() -> list[int]:
    """Return what each control group around this process leaves, in bytes.

    Files that the system only remembers count as free, as they do in the machine's own figure.
    """
    left = []
    for folder in groups():
        try:
            limit = int((folder / "memory.max").read_text())
            used = int((folder / "memory.current").read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):  # no such group here, or its limit is the word "max"
            continue
        left.append(max(0, limit - used + int(stat.get("inactive_file", 0))))
    return left
