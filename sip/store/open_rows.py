"""Which claimed rows are not committed yet, and which batches are whole."""

import threading
from collections.abc import Iterable, Sequence
from itertools import count


class OpenRows:
    """The claimed rows: first to be computed, then computed but not committed.

    Batches are claimed in one thread, and rows are added and committed in another.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._order: dict[str, int] = {}  # not committed: key -> place in the order of the batches
        self._batch_of: dict[str, int] = {}  # not added: key -> number of its batch
        self._to_come: dict[int, int] = {}  # number of a batch -> rows that are not added
        self._begun: set[int] = set()  # batches of which some rows are added, and some are not
        self._num_batches = self._num_keys = 0

    def claim(self, batches: Iterable[Sequence[str]]) -> list[str]:
        """Note claimed batches; return the keys of all rows that are not committed."""
        with self._lock:
            for keys in batches:
                self._order.update(zip(keys, count(self._num_keys), strict=False))
                self._num_keys += len(keys)
                self._batch_of.update(dict.fromkeys(keys, self._num_batches))
                self._to_come[self._num_batches] = len(keys)
                self._num_batches += 1
            return list(self._order)

    def give_up(self, keys: Iterable[str]) -> None:
        """Forget claimed rows of which none is added: they were not to be had."""
        with self._lock:
            for key in keys:
                del self._order[key]
                batch = self._batch_of.pop(key)
                self._to_come[batch] -= 1
                if not self._to_come[batch]:
                    del self._to_come[batch]

    def check(self, key: str) -> None:
        """Check that a row was asked for.

        Raises:
            ValueError: It was not, or it was added before.
        """
        if key not in self._batch_of:
            raise ValueError(f"make() gave the row {key!r} twice or unasked")

    def add(self, key: str) -> None:
        """Note a row that was made."""
        with self._lock:
            batch = self._batch_of.pop(key)
            self._to_come[batch] -= 1
            if self._to_come[batch]:
                self._begun.add(batch)
            else:
                del self._to_come[batch]
                self._begun.discard(batch)

    def commit(self, keys: Iterable[str]) -> None:
        """Note rows that were committed."""
        with self._lock:
            for key in keys:
                del self._order[key]

    def sorted(self, keys: Iterable[str]) -> list[str]:
        """Return keys in the order of the batches."""
        return sorted(keys, key=self._order.__getitem__)

    def forget_begun(self) -> None:
        """Let batches be committed in parts: no more of them is going to be added."""
        self._begun.clear()

    @property
    def is_whole(self) -> bool:
        """Whether each batch is added as a whole or not at all."""
        return not self._begun

    @property
    def num_to_make(self) -> int:
        """Number of claimed rows that are not made yet."""
        return len(self._batch_of)
