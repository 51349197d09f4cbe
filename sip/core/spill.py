"""Long lists whose rows lie on the disk: a job with a million rows keeps a few of them in memory.

A list is written once, in parts, into a temporary file without a name (in `TMPDIR`), which is gone
when the process ends, however it ends. Short lists need no file. The parts are pickles, which are
read by no other process than the one that has written them.
"""

import math
import os
import pickle
import tempfile
import threading
import weakref
from array import array
from collections import OrderedDict, deque
from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    ValuesView,
)
from dataclasses import is_dataclass
from functools import cache
from itertools import chain, count, islice, repeat
from operator import attrgetter
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from sip.core.files import plain_disk_errors, write_at

PART = 1024  # rows
RECENT = 4096  # keys of a `KeyNumbers` in a dict: 0.7 MB
KEPT = 4  # parts of a list in memory, for rows that are not read in order

Row = TypeVar("Row")
Known = TypeVar("Known", covariant=True)


class _Columns:
    """Rows of one dataclass with slots as a list of values for each field.

    They are written and read several times as quickly as the rows: few steps are Python's own.
    """

    def __init__(self, rows: Sequence[Any]) -> None:
        kind: Any = type(rows[0])
        self.kind, self.num = kind, len(rows)
        self.columns = [_packed(list(map(attrgetter(name), rows))) for name in _slots(kind)]

    def rows(self) -> list[Any]:
        """Return the rows, restored from their values, without their checks."""
        rows = list(map(object.__new__, repeat(self.kind, self.num)))
        for name, column in zip(_slots(self.kind), self.columns, strict=True):
            deque(map(getattr(self.kind, name).__set__, rows, _unpacked(column)), maxlen=0)
        return rows


class _Tuples:
    """Tuples of such rows, of which many are one object."""

    def __init__(self, tuples: Sequence[tuple[Any, ...]]) -> None:
        self.lengths = list(map(len, tuples))
        ids = list(map(id, chain.from_iterable(tuples)))
        rows = dict(zip(ids, chain.from_iterable(tuples), strict=True))
        numbers = dict(zip(rows, count(), strict=False))
        self.numbers = list(map(numbers.__getitem__, ids))
        self.of = _Columns(list(rows.values()))

    def rows(self) -> list[Any]:
        """Return the tuples."""
        rows = map(self.of.rows().__getitem__, self.numbers)
        return [tuple(islice(rows, length)) for length in self.lengths]


def _packed(values: list[Any]) -> list[Any] | _Columns | _Tuples:
    """Return rows of one dataclass with slots, or tuples of them, as columns, else as they are."""
    kinds = set(map(type, values))
    if len(kinds) == 1 and _slots(*kinds):
        return _Columns(values)
    if kinds == {tuple}:
        kinds = set(map(type, chain.from_iterable(values)))
        if len(kinds) == 1 and _slots(*kinds):
            return _Tuples(values)
    return values


def _unpacked(values: list[Any] | _Columns | _Tuples) -> list[Any]:
    return values if isinstance(values, list) else values.rows()


@cache
def _slots(kind: Any) -> tuple[str, ...]:
    """Return the fields of a dataclass with slots; () of any other class."""
    return tuple(vars(kind).get("__slots__", ())) if is_dataclass(kind) else ()


@cache
def _codec() -> Any:
    """Return what compresses; the Zstandard of pyarrow takes a fifth of the time of zlib."""
    from pyarrow import Codec

    return Codec("zstd", compression_level=1)


class Spilled(Sequence[Row]):
    """Rows in a fixed order; the end of the list, and what was read last, is in memory.

    Args:
        rows: Read once.

    Raises:
        UserError: The folder of temporary files cannot be written, or is full.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._file: Any = None
        self._ends = array("q", [0])  # of the parts, in the file
        self._sizes = array("q")  # of the parts before they were compressed
        self._rest: list[Row] = []
        self._read: OrderedDict[int, list[Row]] = OrderedDict()
        self._lock = threading.Lock()  # of what was read
        rows = iter(rows)
        while len(part := list(islice(rows, PART))) == PART:
            self._write(part)
        self._rest = part

    def append(self, row: Row) -> None:
        """Add a row at the end."""
        self._rest.append(row)
        if len(self._rest) == PART:
            self._write(self._rest)
            self._rest = []

    def extend(self, rows: Iterable[Row]) -> None:
        """Add rows at the end."""
        for row in rows:
            self.append(row)

    def _write(self, part: list[Row]) -> None:
        with plain_disk_errors(Path(tempfile.gettempdir()), "TMPDIR"):
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="sip-", buffering=0)  # noqa: SIM115
                weakref.finalize(self, self._file.close)
            pickled = pickle.dumps(_packed(part), pickle.HIGHEST_PROTOCOL)
            data = _codec().compress(pickled, asbytes=True)
            self._sizes.append(len(pickled))
            write_at(self._file.fileno(), data, self._ends[-1])
        self._ends.append(self._ends[-1] + len(data))

    def _part(self, number: int) -> list[Row]:
        """Return a part; it is the end of the list if all before it are in the file."""
        if number == len(self._ends) - 1:
            return self._rest
        with self._lock:
            if number in self._read:
                self._read.move_to_end(number)
                return self._read[number]
        part = self._load(number)
        with self._lock:
            self._read[number] = part
            if len(self._read) > KEPT:
                self._read.popitem(last=False)
        return part

    def _load(self, number: int) -> list[Row]:
        start, end = self._ends[number], self._ends[number + 1]
        data = os.pread(self._file.fileno(), end - start, start)
        pickled = _codec().decompress(data, self._sizes[number])
        return _unpacked(pickle.loads(pickled))  # noqa: S301  (of this process)

    def __len__(self) -> int:
        return PART * (len(self._ends) - 1) + len(self._rest)

    def __iter__(self) -> Iterator[Row]:
        for number in range(len(self._ends) - 1):
            yield from self._load(number)
        yield from self._rest

    @overload
    def __getitem__(self, position: int) -> Row: ...

    @overload
    def __getitem__(self, position: slice) -> list[Row]: ...

    def __getitem__(self, position: int | slice) -> Row | list[Row]:
        if isinstance(position, slice):
            return [self[number] for number in range(*position.indices(len(self)))]
        if not -len(self) <= position < len(self):
            raise IndexError(f"must be in a list of {len(self)} rows, got {position}")
        number, inside = divmod(position % len(self), PART)
        return self._part(number)[inside]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Spilled | list):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return Spilled, (list(self),)  # another process has no such file

    def __repr__(self) -> str:
        return f"Spilled({len(self)} rows)"


class Joined(Sequence[Row]):
    """Rows that are made of other lists' rows whenever they are asked for.

    Args:
        make: Makes a row of one row of each list.
        lists: Lists of one length; they stay where they are.
    """

    def __init__(self, make: Callable[..., Row], *lists: Sequence[Any]) -> None:
        self._make, self._lists = make, lists

    def __len__(self) -> int:
        return len(self._lists[0])

    def __iter__(self) -> Iterator[Row]:
        return (self._make(*values) for values in zip(*self._lists, strict=True))

    @overload
    def __getitem__(self, position: int) -> Row: ...

    @overload
    def __getitem__(self, position: slice) -> list[Row]: ...

    def __getitem__(self, position: int | slice) -> Row | list[Row]:
        values = (rows[position] for rows in self._lists)
        return [*map(self._make, *values)] if isinstance(position, slice) else self._make(*values)


class KeyNumbers:
    """A whole number for each key, in 18 to 36 bytes a key in place of 150.

    A key is known by its hash of 64 bits, and cannot be listed. Two of 100 million keys have one
    hash with a chance of 0.0003, which differs from process to process, as Python's hashes do.

    The newest `RECENT` keys are in a dict. When it is full, they are put all at once into a hash
    table of two arrays, with steps of NumPy.
    """

    def __init__(self) -> None:
        self.clear()

    def __reduce__(self) -> str:
        raise TypeError("KeyNumbers cannot be pickled: another process has other hashes")

    def clear(self) -> None:
        """Forget all keys."""
        self._recent: dict[str, int] = {}
        self._num = 0  # in the arrays
        self._allocate(0)

    def _allocate(self, num_slots: int) -> None:
        self._mask = num_slots - 1
        self._hashes = array("q", bytes(8 * num_slots))  # 0: free
        self._numbers = array("i", bytes(4 * num_slots))

    def __len__(self) -> int:
        return self._num + len(self._recent)

    def _slot(self, key: object) -> int | None:
        """Return where a key is in the arrays; None if it is not."""
        if not self._num:
            return None
        hashes, mask, mark = self._hashes, self._mask, hash(key) or 1
        slot = mark & mask
        while (there := hashes[slot]) != mark:
            if not there:
                return None
            slot = (slot + 1) & mask
        return slot

    def __contains__(self, key: object) -> bool:
        return key in self._recent or self._slot(key) is not None

    @overload
    def get(self, key: str, default: int) -> int: ...

    @overload
    def get(self, key: str, default: None) -> int | None: ...

    def get(self, key: str, default: int | None) -> int | None:
        """Return the number of a key, or another one if it has none."""
        if (number := self._recent.get(key)) is not None:
            return number
        slot = self._slot(key)
        return default if slot is None else self._numbers[slot]

    def __getitem__(self, key: str) -> int:
        if (number := self.get(key, None)) is None:
            raise KeyError(key)
        return number

    def __setitem__(self, key: str, number: int) -> None:
        self.put(key, number)

    def put(self, key: str, number: int) -> int | None:
        """Give a key a number; return the one that it had, None if it had none."""
        before = self._recent.get(key)
        if before is None and (slot := self._slot(key)) is not None:
            before, self._numbers[slot] = self._numbers[slot], number
        else:
            self._add(key, number)
        return before

    def setdefault(self, key: str, number: int) -> int:
        """Return the number of a key, which is this one if it had none."""
        if (before := self._recent.get(key)) is not None:
            return before
        if (slot := self._slot(key)) is not None:
            return self._numbers[slot]
        self._add(key, number)
        return number

    def _add(self, key: str, number: int) -> None:
        self._recent[key] = number
        if len(self._recent) >= RECENT:
            self._fold()

    def _fold(self) -> None:
        """Move the newest keys into the arrays, of which a third stays free."""
        import numpy as np

        marks = np.fromiter(map(hash, self._recent), np.int64, len(self._recent))
        marks[marks == 0] = 1
        numbers = np.fromiter(self._recent.values(), np.int32, len(marks))
        hashes, known = self._views()
        if 3 * len(self) > 2 * len(hashes):
            there = hashes != 0
            marks, numbers = np.append(hashes[there], marks), np.append(known[there], numbers)
            self._allocate(2 ** math.ceil(math.log2(1.5 * len(self))))
            hashes, known = self._views()
        self._num = len(self)
        self._recent = {}
        slots = marks & self._mask
        while len(marks):
            free = hashes[slots] == 0
            hashes[slots[free]] = marks[free]  # of those that share a slot, one gets it
            there = hashes[slots] == marks
            known[slots[there]] = numbers[there]
            marks, numbers = marks[~there], numbers[~there]
            slots = (slots[~there] + 1) & self._mask

    def _views(self) -> Any:
        """Return the arrays as NumPy's, with the same memory."""
        import numpy as np

        return np.frombuffer(self._hashes, np.int64), np.frombuffer(self._numbers, np.int32)


class ByKey(Mapping[str, Known], Generic[Known]):
    """What a dict of keys and rows is: the order of the first, of equal keys the last row.

    Args:
        keys: A key for each row.
        rows: The rows; they, and the keys if they are a list, stay where they are.
    """

    def __init__(self, keys: Iterable[str], rows: Sequence[Known]) -> None:
        self._rows = rows
        self._positions = KeyNumbers()
        self._again: set[int] = set()  # rows whose key is that of an earlier one
        self._keys = keys if isinstance(keys, Sequence) else Spilled(keys)
        if len(self._keys) != len(rows):
            raise ValueError(f"must have a key for each of {len(rows)} rows, got {len(self._keys)}")
        for position, key in enumerate(self._keys):
            if self._positions.put(key, position) is not None:
                self._again.add(position)

    def __reduce__(self) -> tuple[Any, ...]:
        return ByKey, (list(self._keys), self._rows)

    def __len__(self) -> int:
        return len(self._positions)

    def __iter__(self) -> Iterator[str]:
        for position, key in enumerate(self._keys):
            if position not in self._again:
                yield key

    def __getitem__(self, key: str) -> Known:
        return self._rows[self._positions[key]]

    def items(self) -> ItemsView[str, Known]:
        """Return keys and rows; the rows are read one after the other."""
        return _Items(self)

    def values(self) -> ValuesView[Known]:
        """Return the rows, which are read one after the other."""
        return _Values(self)

    def pairs(self) -> Iterator[tuple[str, Known]]:
        """Yield keys and rows."""
        if self._again:
            return ((key, self[key]) for key in self)
        return zip(self._keys, self._rows, strict=True)

    def __contains__(self, key: object) -> bool:
        return key in self._positions


class SpilledMap(Mapping[str, Row]):
    """Rows by key, to which more are added; a key keeps its first place and gets its last row."""

    def __init__(self) -> None:
        self._keys, self._rows = Spilled[str](), Spilled[Row]()
        self._positions = KeyNumbers()

    def put(self, key: str, row: Row) -> None:
        """Add a row, or replace the one of its key."""
        if self._positions.put(key, len(self._rows)) is None:
            self._keys.append(key)
        self._rows.append(row)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __getitem__(self, key: str) -> Row:
        return self._rows[self._positions[key]]

    def __contains__(self, key: object) -> bool:
        return key in self._positions


class _Items(ItemsView[str, Known]):
    _mapping: ByKey[Known]

    def __iter__(self) -> Iterator[tuple[str, Known]]:
        return self._mapping.pairs()


class _Values(ValuesView[Known]):
    _mapping: ByKey[Known]

    def __iter__(self) -> Iterator[Known]:
        return (row for _, row in self._mapping.pairs())


def unique(keys: Iterable[str]) -> Iterator[str]:
    """Yield each key once, in the order of their first appearance."""
    seen = KeyNumbers()
    for key in keys:
        if seen.put(key, 1) is None:
            yield key
