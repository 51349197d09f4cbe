"""What is private of a path is cut off."""

import pytest

from sip.core.places import portable, without_places


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("run paths.store=/home/me/store x=1", "run paths.store=store x=1"),
        ("a=[/x/y,/x/z] 'b=/x/my'", "a=[y,z] 'b=my'"),
        ("/a/b/c.png: broken", "c.png: broken"),
        (r"root=C:\data\pets ~/w/x", "root=pets x"),
        ("https://example.org/a and/or 3/4 runs/x", "https://example.org/a and/or 3/4 runs/x"),
    ],
)
def test_absolute_paths_lose_their_place(text: str, told: str) -> None:
    assert without_places(text) == told


def test_values_are_cut_to_their_last_part_at_any_depth() -> None:
    values = {"a": ["/x/y/model", "~/z", "C:\\m\\n"], "b": {"c": "hub/name", "d": 1.5, "e": None}}
    cut = {"a": ["model", "z", "n"], "b": {"c": "hub/name", "d": 1.5, "e": None}}
    assert portable(values) == cut
    assert portable("/home/John Doe/my pets") == "my pets"
