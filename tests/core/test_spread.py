"""Evenly spread picks."""

from sip.core.spread import spread


def test_picks_are_spread_over_the_whole_list() -> None:
    assert spread(range(10), 20) == list(range(10))
    assert spread(range(100), 4) == [0, 25, 50, 75]
    assert spread(range(5), 3) == [0, 1, 3]
    assert spread([], 3) == spread(range(3), 0) == []
