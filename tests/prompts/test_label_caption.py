"""The list of prompts: spans, weights, guidance, seeds, and what each preset reads."""

from dataclasses import replace

import pytest

from sip.core.errors import UserError
from sip.prompts.base import Span
from sip.prompts.guidance.constant import Constant
from sip.prompts.guidance.quadratic import Quadratic
from sip.prompts.label_caption import LabelCaption
from sip.prompts.weighting.scale import ScaleWeighting
from tests.prompts.varied import COMMON
from tests.prompts.varied import SAMPLES as TWELVE

CAPTIONS = [["a cat", "a tabby on a mat", "an animal"], ["wheels (two), {red}"]]
COSINES = [[0.2, 0.32, 0.32], [0.4]]
BOTH = {"captions", "scores"}


SAMPLES = TWELVE[:2]  # a cat and a race car


def make(**changes) -> LabelCaption:
    values = {
        "template": "a photo of a {label}, {caption}",
        "label_weight": 1.5,
        "caption_weight": 0.9,
        "guidance": Quadratic(4.0, 2.0, 1.0, "clipscore"),
    }
    return LabelCaption(**(COMMON | values | changes))


def write(per_sample: int = 1, **changes):
    return make(**changes).write(SAMPLES, CAPTIONS, COSINES, per_sample)


def test_label_and_best_caption_get_their_weights():
    cat, car = write()
    assert cat.spans == (
        Span("a photo of a ", 1.0),
        Span("cat", 1.5),
        Span(", ", 1.0),
        Span("a tabby on a mat", 0.9),
    )
    assert cat.text == "a photo of a cat, a tabby on a mat"
    assert (cat.caption, cat.similarity) == ("a tabby on a mat", 0.32)  # the first of equals
    assert car.spans[-1] == Span("wheels (two), {red}", 0.9)  # no part of a caption is parsed


def test_an_article_fits_the_label() -> None:
    cat, _ = write(template="{article} {label}")
    assert cat.text == "a cat"
    eight = replace(SAMPLES[0], class_name="Eight")
    (row,) = make(template="{article} {label}").write([eight], CAPTIONS[:1], COSINES[:1], 1)
    assert row.spans == (Span("an", 1.0), Span(" ", 1.0), Span("Eight", 1.5))


def test_rows_say_where_they_come_from():
    cat, car = write()
    assert (cat.sample_id, cat.source, cat.source_sha256) == ("s0", "/data/0.png", "sha0")
    assert (car.label, car.class_name, car.variant, car.noise_rate) == (1, "race car", 0, 0.5)


def test_each_image_has_its_own_guidance():
    assert [row.guidance_scale for row in write()] == [5.16, 7.0]
    third = make(guidance=Quadratic(1 / 3, 0.0, 1.0, "raw"))
    assert third.write([SAMPLES[0]], [["a"]], [[1.0]], 1)[0].guidance_scale == 1.333


def test_seeds_depend_on_generation_seed_source_and_variant_alone():
    base = [row.seed for row in write(3)]
    assert len(set(base)) == 6
    same = [
        write(3, noise_rate=0.7),
        write(3, guidance=Constant(2.0)),
        write(3, template="{label}"),
        write(3, negative_prompt="blurred"),
    ]
    assert all([row.seed for row in rows] == base for rows in same)
    assert not {row.seed for row in write(3, seed=1)} & set(base)
    first_of_each = [row.seed for row in write(1)]
    assert first_of_each == [base[0], base[3]]  # more variants leave the first as they are


def test_variants_follow_each_other():
    assert [(row.sample_id, row.variant) for row in write(2)] == [
        ("s0", 0),
        ("s0", 1),
        ("s1", 0),
        ("s1", 1),
    ]
    assert len({row.image_id for row in write(2)}) == 4


@pytest.mark.parametrize(
    ("template", "texts"),
    [
        ("a photo of a {label}", [("a photo of a ", 1.0), ("cat", 1.5)]),
        ("a photo of {caption}", [("a photo of ", 1.0), ("a tabby on a mat", 0.9)]),
        ("", []),
        ("{label}: {label}!", [("cat", 1.5), (": ", 1.0), ("cat", 1.5), ("!", 1.0)]),
    ],
)
def test_templates(template, texts):
    assert [(span.text, span.weight) for span in write(template=template)[0].spans] == texts


def test_reads_only_what_it_needs():
    constant = Constant(7.5)
    assert make().reads == BOTH
    assert make(template="{label}").reads == BOTH  # for the guidance
    assert make(guidance=constant).reads == BOTH  # for the caption, and which of them is best
    assert make(template="{label}", guidance=constant).reads == frozenset()


def test_variants_take_different_captions_best_first_with_their_own_guidance():
    varied = write(per_sample=4, vary_captions=True)
    cats, cars = varied[:4], varied[4:]
    assert [(row.caption, row.similarity, row.guidance_scale) for row in cats] == [
        ("a tabby on a mat", 0.32, 5.16),
        ("an animal", 0.32, 5.16),
        ("a cat", 0.2, 3.0),
        ("a tabby on a mat", 0.32, 5.16),  # round again
    ]
    assert [row.spans[-1].text for row in cats] == [row.caption for row in cats]
    assert {row.caption for row in cars} == {"wheels (two), {red}"}
    same = write(per_sample=4)
    assert {row.caption for row in same[:4]} == {"a tabby on a mat"}
    assert [row.image_id for row in (cats[0], *cars)] == [
        row.image_id for row in (same[0], *same[4:])
    ]
    assert [row.seed for row in varied] == [row.seed for row in same]


def test_equal_captions_count_once():
    rows = make(vary_captions=True).write(SAMPLES[:1], [["a", "b", "a"]], [[0.1, 0.2, 0.1]], 3)
    assert [row.caption for row in rows] == ["b", "a", "b"]


def test_different_captions_need_a_template_with_a_caption():
    with pytest.raises(UserError, match=r"vary_captions: must be false as the template has no \{c"):
        make(template="{label}", vary_captions=True)
    assert "vary_captions" not in make().recipe()
    assert make(vary_captions=True).recipe()["vary_captions"] is True


def test_without_captions_none_are_needed():
    row = make(template="{label}", guidance=Constant(7.5)).write(SAMPLES, None, None, 1)[0]
    assert (row.caption, row.similarity, row.guidance_scale) == (None, None, 7.5)


def test_missing_captions_are_an_error():
    with pytest.raises(ValueError, match="reads captions and scores"):
        make().write(SAMPLES, None, None, 1)
    with pytest.raises(ValueError, match="s1: .* got 0 captions and 0 similarities"):
        make().write(SAMPLES, [["a cat"], []], [[0.2], []], 1)
    with pytest.raises(ValueError, match="s0: .* got 2 captions and 1 similarities"):
        make().write(SAMPLES, [["a", "b"], ["c"]], [[0.2], [0.1]], 1)


@pytest.mark.parametrize("template", ["a {lable}", "a {}", "a {label!r}", "a {label:>9}"])
def test_an_unknown_field_is_an_error(template):
    message = r"no field but \{label\} and \{caption\} and \{article\}, got 'a \{"
    with pytest.raises(UserError, match=message):
        make(template=template)


def test_a_broken_template_is_an_error():
    with pytest.raises(UserError, match="got 'a {label'; expected '}'"):
        make(template="a {label")


def test_the_weighting_is_in_the_recipe_of_the_images_only():
    assert make(weighting=ScaleWeighting()).recipe() == make().recipe()
