"""Subsets: nested, by seed, independent of order."""

from dataclasses import dataclass

import pytest

from sip.common.errors import UserError
from sip.dataset.subsets import few_shot, hold_out, per_class


@dataclass(frozen=True)
class Fake:
    sample_id: str
    label: int


ROWS = [Fake(f"r{i}", i % 3) for i in range(60)]


def test_few_shot_is_nested_for_every_seed() -> None:
    for seed in range(5):
        parts = [set(few_shot(ROWS, shots, seed)) for shots in (1, 2, 5, 20)]
        for smaller, larger in zip(parts, parts[1:], strict=False):
            assert smaller < larger
        assert [len(part) for part in parts] == [3, 6, 15, 60]


def test_few_shot_depends_on_seed_and_not_on_order_or_other_rows() -> None:
    chosen = few_shot(ROWS, 4, 0)
    assert chosen == [row for row in ROWS if row in chosen]  # old order
    assert set(few_shot(ROWS[::-1], 4, 0)) == set(chosen)
    assert set(few_shot(ROWS, 4, 1)) != set(chosen)
    others = [Fake("new", 3), Fake("newer", 3), Fake("newest", 3), Fake("last", 3)]
    assert set(few_shot([*others, *ROWS], 4, 0)) >= set(chosen)


def test_few_shot_none_is_all() -> None:
    assert few_shot(ROWS, None, 0) == ROWS


@pytest.mark.parametrize(
    ("shots", "message"), [(0, "expected a number >= 1"), (21, "expected at most 20.*came 21")]
)
def test_few_shot_refuses(shots: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        few_shot(ROWS, shots, 0)


def test_hold_out_is_stratified_and_keeps_single_rows() -> None:
    kept, held = hold_out([*ROWS, Fake("single", 3)], 0.1, 0)
    assert sorted(row.label for row in held) == [0, 0, 1, 1, 2, 2]
    assert Fake("single", 3) in kept
    assert len(kept) + len(held) == 61 and set(kept).isdisjoint(held)
    assert hold_out(ROWS, 0.1, 1)[1] != held


@pytest.mark.parametrize("share", [0, 1, 1.5])
def test_hold_out_refuses(share: float) -> None:
    with pytest.raises(UserError, match="between 0 and 1, came"):
        hold_out(ROWS, share, 0)


def test_per_class_takes_and_leaves() -> None:
    taken, rest = per_class(ROWS, 15, 0)
    assert (len(taken), len(rest)) == (45, 15)
    assert set(taken) | set(rest) == set(ROWS)
