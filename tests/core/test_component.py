"""A component: values are checked, fields are the recipe, marks say what is left out."""

from collections.abc import Sequence
from typing import Annotated, Literal, Protocol

import pytest
from pydantic import Field

from sip.core.component import Component, Part, added, component, ignored, known_by, refuse
from sip.core.errors import UserError
from sip.core.ranges import Count, Pair, Rate, Share


class Rule(Protocol):
    """What a nested component does."""

    def __call__(self) -> float:
        """Return a number."""


@component
class Inner(Component):
    """A nested component."""

    a: float


@component
class Toy(Component):
    """One field of each kind."""

    noise_rate: Rate
    num: Count
    mode: Literal["nucleus", "beam"]
    top_p: Rate | None
    rule: Part[Rule]
    interval: Pair
    values: list[float]
    layers: Sequence[Annotated[int, Field(ge=0)]]
    is_tiled: bool
    max_failed: Share = ignored()
    newer: int | None = added(neutral=None)
    model: str = known_by("weights")

    def __post_init__(self) -> None:
        if self.num > 8:
            raise refuse("num", "at most 8", self.num, "use fewer")

    @property
    def weights(self) -> dict:
        """Stand for the hash of a folder."""
        return {"content": self.model[::-1]}


GOOD = {
    "noise_rate": 0.5,
    "num": 1,
    "mode": "beam",
    "top_p": None,
    "rule": Inner(1.0),
    "interval": [0, 1],
    "values": [1.0],
    "layers": [3],
    "is_tiled": True,
    "max_failed": 0.5,
    "newer": None,
    "model": "ab",
}


def test_the_fields_are_the_recipe() -> None:
    toy = Toy(**GOOD)
    assert toy.recipe() == {
        "class": f"{__name__}.Toy",
        "version": 1,
        "noise_rate": 0.5,
        "num": 1,
        "mode": "beam",
        "top_p": None,
        "rule": {"class": f"{__name__}.Inner", "version": 1, "a": 1.0},
        "interval": [0.0, 1.0],
        "values": [1.0],
        "layers": [3],
        "is_tiled": True,
        "weights": {"content": "ba"},
    }


def test_a_newer_field_is_in_the_recipe_once_it_says_something() -> None:
    assert Toy(**GOOD | {"newer": 3}).recipe()["newer"] == 3


@pytest.mark.parametrize("number", [1, 1.0])
def test_whole_and_decimal_numbers_are_the_same_value(number: float) -> None:
    assert repr(Inner(number).recipe()["a"]) == "1.0"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("noise_rate", "high", "noise_rate: must be in (0, 1], got 'high'"),
        ("noise_rate", 0, "noise_rate: must be in (0, 1], got 0"),
        ("noise_rate", float("nan"), "noise_rate: must be in (0, 1], got nan"),
        ("num", True, "num: must be a whole number >= 1, got true"),
        ("num", 1.0, "num: must be a whole number >= 1, got 1.0"),
        ("num", 9, "num: must be at most 8, got 9; use fewer"),
        ("mode", "greedy", "mode: must be one of nucleus, beam, got 'greedy'"),
        ("top_p", 2, "top_p: must be in (0, 1] or null, got 2"),
        ("rule", "linear", "rule: must be a choice, set with a slash, got 'linear'"),
        ("rule", None, "rule: must be a choice, set with a slash, got null"),
        ("interval", [0], "interval: must be a list of 2: a finite number each, got [0]"),
        ("values", [float("inf")], "values: must be a list, a finite number each, got [inf]"),
        ("layers", [-1], "layers: must be a list, a whole number >= 0 each, got [-1]"),
        ("is_tiled", 1, "is_tiled: must be true or false, got 1"),
        ("max_failed", 1.5, "max_failed: must be in [0, 1], got 1.5"),
        ("newer", "x", "newer: must be a whole number or null, got 'x'"),
        ("model", None, "model: must be text, got null"),
    ],
)
def test_a_wrong_value_is_one_line(field: str, value: object, message: str) -> None:
    with pytest.raises(UserError) as error:
        Toy(**GOOD | {field: value})
    assert str(error.value) == message


def test_arguments_by_position_are_named_too() -> None:
    with pytest.raises(UserError, match="^a: must be a finite number, got 'x'$"):
        Inner("x")  # type: ignore[arg-type]


def test_components_are_frozen_and_complete() -> None:
    with pytest.raises(AttributeError):
        Inner(1.0).a = 2.0  # type: ignore[misc]
    with pytest.raises(TypeError):
        Inner()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Inner(1.0, b=2)  # type: ignore[call-arg]


def test_what_a_component_of_ones_own_raises_stays_what_it_is() -> None:
    @component
    class Own(Component):
        a: float

        def __post_init__(self) -> None:
            raise ValueError("a and b do not fit")

    with pytest.raises(ValueError, match="^a and b do not fit$"):
        Own(1.0)
