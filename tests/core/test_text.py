"""Wordings of messages."""

import pytest

from sip.core.text import counted, first_of


@pytest.mark.parametrize(
    ("number", "nouns", "expected"),
    [
        (0, ("run",), "0 runs"),
        (1, ("run",), "1 run"),
        (2000, ("run",), "2,000 runs"),
        (1, ("class", "classes"), "1 class"),
        (2, ("class", "classes"), "2 classes"),
    ],
)
def test_a_number_agrees_with_its_noun(number, nouns, expected):
    assert counted(number, *nouns) == expected


def test_the_first_names_and_an_ellipsis_for_the_rest():
    assert first_of([]) == ""
    assert first_of(["a", "b", "c"]) == "a, b, c"
    assert first_of(["a", "b", "c", "d"]) == "a, b, c, ..."
    assert first_of([1, 2], 1) == "1, ..."
