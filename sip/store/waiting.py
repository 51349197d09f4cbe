"""Waiting for rows that another process makes, and the word on one that seems to hang."""

import shlex
import time
from pathlib import Path

from sip.core.progress import say
from sip.core.text import format_duration
from sip.store.claims import readable
from sip.store.place import Owners

POLL_EVERY = 0.5  # s between two looks at what another process makes
HUNG_AFTER = 900.0  # s without a new claim, after which an owner is named


class Waiting:
    """What one process waits for.

    Attributes:
        owners: Names of the owners of the missing rows, as of the last look.
    """

    def __init__(self) -> None:
        self.owners: set[str] = set()
        self._since: dict[
            tuple[str, int], float
        ] = {}  # owner and number of its claim -> first seen
        self._is_announced = False

    def wait(self, name: str, num_rows: int, claims: Owners) -> None:
        """Wait a moment; say for whom the first time, and who may hang after `HUNG_AFTER`.

        Args:
            name: Title of the stage's lines.
            num_rows: Number of rows that are missing.
            claims: Owners of the stage.
        """
        if not self._is_announced:
            self._is_announced = True
            who = ", ".join(sorted(map(readable, self.owners)))
            say(name, f"waiting for {num_rows} made by {who}")
        now = time.monotonic()
        seen = {(owner, claims.number_of(owner)) for owner in self.owners}
        self._since = {claim: self._since.get(claim, now) for claim in seen}
        for (owner, number), since in self._since.items():
            if now - since >= HUNG_AFTER:
                self._since[owner, number] = now  # so that the line comes again, as late
                file = claims.file_of(owner)
                is_local = isinstance(file, Path)
                free = f"rm {shlex.quote(str(file))}" if is_local else f"delete {file}"
                say(
                    name,
                    f"{readable(owner)} lives, but has finished no shard for "
                    f"{format_duration(now - since)}; if it hangs, end it (kill -9), or have its "
                    f"rows made here: {free}",
                )
        self.owners.clear()
        time.sleep(POLL_EVERY)
