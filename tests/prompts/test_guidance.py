"""Guidance rules against values worked out by hand."""

import pytest

from sip.core.errors import UserError
from sip.prompts.guidance.constant import Constant
from sip.prompts.guidance.linear import Linear
from sip.prompts.guidance.quadratic import Quadratic


@pytest.mark.parametrize(
    ("cosine", "expected"),
    [(0.0, 1.0), (-0.3, 1.0), (0.2, 3.0), (0.32, 5.16), (0.4, 7.0), (0.9, 7.0)],
)
def test_quadratic_over_clipscore(cosine, expected):
    assert Quadratic(4.0, 2.0, 1.0, "clipscore")(cosine) == pytest.approx(expected)


@pytest.mark.parametrize(("cosine", "expected"), [(-0.3, 1.0), (0.25, 1.75), (0.5, 3.0)])
def test_quadratic_over_the_raw_cosine(cosine, expected):
    assert Quadratic(4.0, 2.0, 1.0, "raw")(cosine) == pytest.approx(expected)


@pytest.mark.parametrize(("cosine", "expected"), [(-1.0, 1.0), (0.2, 4.0), (0.4, 7.0), (1.0, 7.0)])
def test_linear(cosine, expected):
    assert Linear(1.0, 7.0, "clipscore")(cosine) == pytest.approx(expected)


def test_constant_needs_no_similarity():
    rule = Constant(7.5)
    assert not rule.needs_similarity
    assert rule(None) == rule(0.3) == 7.5


@pytest.mark.parametrize("rule", [Quadratic(4, 2, 1, "raw"), Linear(1, 7, "raw")])
def test_a_missing_similarity_is_not_made_up(rule):
    assert rule.needs_similarity
    with pytest.raises(ValueError, match="needs the similarity"):
        rule(None)


def test_an_unknown_scaling_names_the_known_ones():
    with pytest.raises(UserError, match="scaling: must be one of clipscore, raw, got 'softmax'"):
        Quadratic(4, 2, 1, "softmax")
