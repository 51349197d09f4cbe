"""Lists on the disk are the lists that they stand for, in little memory."""

import pickle
import random
import tempfile
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sip.core import spill
from sip.core.errors import UserError
from sip.core.spill import PART, ByKey, Joined, KeyNumbers, Spilled, SpilledMap, unique
from sip.prompts.base import Prompt, Span

LENGTHS = (0, 1, PART - 1, PART, PART + 1, 7 * PART + 5)


def prompts(num: int) -> Iterator[Prompt]:
    """Yield prompts with texts of their own."""
    for number in range(num):
        spans = Span("a photo of a ", 1.0), Span(f"thing number {number} in front of a wall", 0.9)
        row = (f"train/thing/{number:08d}.png", f"/data/{number:08d}.png", f"{number:064x}", 0)
        yield Prompt(*row, "thing", 0, spans, "", 2 + number / 7, 0.5, number, None, None)


@pytest.mark.parametrize("length", LENGTHS)
def test_it_is_the_list(length: int) -> None:
    rows = [(number, f"row {number}") for number in range(length)]
    kept = Spilled(iter(rows))
    assert len(kept) == length and list(kept) == rows and kept == rows
    assert list(kept) == rows  # more than once
    order = random.Random(0).sample(range(-length, length), min(length, 300))
    assert [kept[number] for number in order] == [rows[number] for number in order]
    for part in (slice(None), slice(3, -2), slice(PART - 2, PART + 2), slice(None, None, -97)):
        assert kept[part] == rows[part]
    for outside in (length, -length - 1):
        with pytest.raises(IndexError):
            kept[outside]
    assert kept != [*rows, (1, "more")] and (length == 0 or kept != [*rows[:-1], (0, "other")])
    kept.append((0, "last"))
    assert kept[-1] == (0, "last") and len(kept) == length + 1


def test_prompts_keep_their_keys_and_hold_still_for_threads() -> None:
    rows = list(prompts(6 * PART))
    kept = Spilled(rows)
    assert kept == rows and [row.image_id for row in kept] == [row.image_id for row in rows]
    order = random.Random(1).choices(range(len(rows)), k=200)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(kept.__getitem__, order)) == [rows[number] for number in order]


def test_a_prompt_list_takes_no_memory_to_speak_of() -> None:
    num = 20 * PART
    small = Spilled(prompts(PART))
    assert small[0].variant == 0  # what is imported late is there
    tracemalloc.start()
    rows = Spilled(prompts(num))
    wanted = ByKey((prompt.image_id for prompt in rows), rows)
    assert sum(1 for _ in rows) == len(wanted) == num
    used = tracemalloc.get_traced_memory()[0] / num
    tracemalloc.stop()
    assert used < 120  # a list of them takes 700, a dict 130 more


def test_rows_that_are_no_columns_stay_what_they_are() -> None:
    spans = [Span(f"text {number % 3}", number / 2) for number in range(PART)]
    shared = Span("a", 1.0)
    pairs = [(shared, *spans[: number % 4]) for number in range(PART)]
    rows = [*prompts(1), *spans[1:]]
    for kept in (spans, pairs, rows, [(), *pairs[1:]], [()] * PART, [[1.5], *pairs[1:]]):
        assert list(Spilled([*kept, None]))[:-1] == kept
    first, second = Spilled([*pairs, None])[1:3]
    assert first[0] is second[0]  # what many rows share is in memory once


def test_what_is_made_of_lists_is_made_when_it_is_asked_for() -> None:
    asked: list[int] = []

    def added(left: int, right: int) -> int:
        asked.append(left)
        return left + right

    rows = Joined(added, Spilled(range(2 * PART)), range(2 * PART))
    assert len(rows) == 2 * PART and asked == []
    assert rows[-1] == 4 * PART - 2 and rows[3:9:2] == [6, 10, 14] and asked[0] == 2 * PART - 1
    assert list(rows) == [2 * number for number in range(2 * PART)]
    with pytest.raises(ValueError, match="shorter"):
        list(Joined(added, [1, 2], [1]))


def test_a_full_disk_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(UserError, match="missing"):
        Spilled(range(PART))
    assert len(Spilled(range(PART - 1))) == PART - 1  # needs no file


def test_no_file_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kept = Spilled(range(3 * PART))
    assert list(tmp_path.iterdir()) == [] and kept[5] == 5


@pytest.mark.parametrize("recent", [1, 100, 4096])
def test_numbers_are_those_of_a_dict(recent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "RECENT", recent)
    chosen = random.Random(2)
    known: dict[str, int] = {}
    numbers = KeyNumbers()
    for _ in range(30_000):
        key, number = f"{chosen.randrange(9_000):024x}", chosen.randrange(-5, 2_000_000_000)
        assert (key in numbers) == (key in known)
        assert numbers.get(key, None) == known.get(key)
        if chosen.random() < 0.5:
            assert numbers.setdefault(key, number) == known.setdefault(key, number)
        else:
            assert numbers.put(key, number) == known.get(key)
            known[key] = number
        assert numbers[key] == known[key] and len(numbers) == len(known)
    assert all(numbers[key] == number for key, number in known.items())
    with pytest.raises(KeyError):
        numbers["another"]
    numbers.clear()
    assert len(numbers) == 0 and "another" not in numbers and next(iter(known)) not in numbers


def test_hashes_that_share_a_place_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "hash", lambda key: 64 * int(key), raising=False)
    monkeypatch.setattr(spill, "RECENT", 50)
    numbers = KeyNumbers()
    for number in range(300):
        numbers[str(number)] = number
    assert [numbers[str(number)] for number in range(300)] == list(range(300))
    assert "300" not in numbers


def test_rows_by_key_are_those_of_a_dict() -> None:
    rows = Spilled(range(5 * PART))
    keys = [str(number % (4 * PART)) for number in rows]
    expected = dict(zip(keys, rows, strict=True))
    found = ByKey(keys, rows)
    assert list(found) == list(expected) and list(found.items()) == list(expected.items())
    assert len(found) == 4 * PART and "0" in found and "x" not in found
    assert found.get("x") is None and dict(found) == expected
    assert list(unique(keys)) == list(expected)
    with pytest.raises(ValueError, match="a key for each"):
        ByKey(keys[1:], rows)


def test_rows_are_added_by_key_as_to_a_dict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "RECENT", 50)
    found, expected = SpilledMap[int](), dict[str, int]()
    for number in range(3 * PART):
        found.put(key := str(number % (2 * PART)), number)
        expected[key] = number
        assert found[key] == number
    assert dict(found) == expected and list(found) == list(expected)
    assert len(found) == 2 * PART and "0" in found and "x" not in found


def test_another_process_gets_the_rows_and_never_the_hashes() -> None:
    rows = Spilled(range(2 * PART + 3))
    assert pickle.loads(pickle.dumps(rows)) == list(range(2 * PART + 3))
    keys = ["a", "b", "a"]
    found = pickle.loads(pickle.dumps(ByKey(keys, [1, 2, 3])))
    assert dict(found) == {"a": 3, "b": 2}
    with pytest.raises(TypeError, match="hashes"):
        pickle.dumps(KeyNumbers())
