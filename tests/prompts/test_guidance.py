"""Guidance rules against values worked out by hand."""

import numpy as np
import pytest
from scipy import stats

from sip.core.errors import UserError
from sip.prompts.guidance.constant import Constant
from sip.prompts.guidance.linear import Linear
from sip.prompts.guidance.quadratic import Quadratic
from sip.prompts.label_caption import LabelCaption
from tests.prompts.varied import COMMON, SAMPLES


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
    with pytest.raises(
        UserError, match="scaling: must be one of clipscore, raw, quantile, got 'softmax'"
    ):
        Quadratic(4, 2, 1, "softmax")


def test_quantile_spans_the_range_of_the_rule_whatever_the_scorer():
    cosines = np.random.default_rng(0).normal(0.08, 0.02, 500)
    low, high = stats.mstats.mquantiles(cosines, [0.05, 0.95], alphap=1, betap=1)
    rule = Quadratic(4.0, 2.0, 1.0, "quantile").fitted(cosines.tolist())
    assert rule.cosines == pytest.approx([low, high], abs=6e-5)
    assert (rule(low - 0.01), rule(high + 0.01)) == (1.0, 7.0)
    assert rule(sum(rule.cosines) / 2) == pytest.approx(3.0)  # s' = 1/2
    assert Linear(1.0, 7.0, "quantile", cosines=[0.0, 0.2])(0.05) == pytest.approx(2.5)


def test_what_is_fitted_and_what_is_not():
    given = Quadratic(4.0, 2.0, 1.0, "quantile", cosines=[0.1, 0.2])
    assert given.fitted([0.5, 0.9]) == given
    clip = Quadratic(4.0, 2.0, 1.0, "clipscore")
    assert clip.fitted([0.1]) is clip and "cosines" not in clip.recipe()
    assert (
        Quadratic(4.0, 2.0, 1.0, "quantile").fitted([0.3])(0.3) == 3.0
    )  # of one image: the middle
    with pytest.raises(ValueError, match="needs cosines"):
        Quadratic(4.0, 2.0, 1.0, "quantile")(0.2)


@pytest.mark.parametrize(
    ("scaling", "cosines", "said"),
    [
        (
            "clipscore",
            [0.1, 0.2],
            "cosines: must be null without prompts.guidance.scaling=quantile",
        ),
        ("quantile", [0.2, 0.1], "cosines: must be the lower one, then the higher one"),
        ("quantile", [0.2], "cosines: must be"),
        ("quantile", [0.2, 1.5], "cosines: must be"),
    ],
)
def test_cosines_that_cannot_be_meant_are_refused(scaling, cosines, said):
    with pytest.raises(UserError, match=said):
        Linear(1.0, 7.0, scaling, cosines=cosines)


def test_prompts_are_written_by_the_fitted_rule():
    rule = Quadratic(4.0, 2.0, 1.0, "quantile")
    settings = {"label_weight": 1.0, "caption_weight": 1.0, "template": "{label}, {caption}"}
    writer = LabelCaption(**(COMMON | settings | {"guidance": rule}))
    cosines = [[0.04 + 0.01 * number, 0.01] for number in range(12)]
    prompts = writer.write(SAMPLES, [["x", "y"]] * 12, cosines, 1)
    fitted = rule.fitted([row[0] for row in cosines])
    scales = [prompt.guidance_scale for prompt in prompts]
    assert scales == [round(fitted(row[0]), 3) for row in cosines]
    assert (min(scales), max(scales)) == (1.0, 7.0)
