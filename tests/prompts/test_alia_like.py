"""Settings from captions: cutting, counting, class words, and who gets which."""

import pytest

from sip.core.errors import UserError
from sip.prompts.alia_like import AliaLike, phrases, summary
from sip.prompts.guidance.quadratic import Quadratic
from tests.prompts.varied import COMMON, SAMPLES

CAPTIONS = [["a cat on a sofa, with a red ball", "a pet on a sofa"], ["a race car in the rain"]] * 6


def make(**changes) -> AliaLike:
    values = {"template": "a photo of a {label}, {domain}", "num_domains": 10}
    return AliaLike(**(values | COMMON | changes))


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a small bird perched on a branch in the forest", ["on a branch", "in the forest"]),
        ("A yellow flower with leaves in the background", ["with leaves in the background"]),
        ("a field of flowers", []),
        ("a plane flying in the sky and a mountain", ["in the sky", "a mountain"]),
        ("a digit, with bold lines, heavy at the top", ["with bold lines", "heavy at the top"]),
        ("a dog next to  a chair. ", ["next to a chair"]),
        ("a dog in it, on that", []),
        ("an inside view", []),  # a word that a caption begins with is no end of the subject
        ("", []),
    ],
)
def test_captions_are_cut_behind_their_subject(caption, expected):
    assert phrases(caption) == expected


def test_the_most_frequent_phrases_come_first_each_counted_once_a_image():
    captions = [
        ["a bird on a branch, flying", "a bird on a branch", "a thing on a branch"],
        ["a bird in the sky"],
        ["a bird in the sky, flying"],
        ["a bird, at night"],
    ]
    assert summary(captions, [], 10) == ["flying", "in the sky", "at night", "on a branch"]
    assert summary(captions, [], 2) == ["flying", "in the sky"]
    assert summary(captions[::-1], [], 10) == summary(captions, [], 10)


def test_descriptions_do_not_name_a_class():
    captions = [["a photo, with Cats, with a race, near a carpet, on the road"]]
    names = ["cat", "race car", "the_sea"]
    assert summary(captions, names, 10) == ["near a carpet", "on the road"]


def test_variants_of_one_original_get_settings_of_the_whole_set():
    rows = make().write(SAMPLES, CAPTIONS, None, 3)
    settings = ("on a sofa", "with a red ball", "in the rain")
    for number, sample in enumerate(SAMPLES):
        written = {row.text for row in rows[3 * number : 3 * number + 3]}
        assert written == {f"a photo of a {sample.class_name}, {setting}" for setting in settings}
    assert (rows[0].caption, rows[0].similarity, rows[0].guidance_scale) == (None, None, 4.0)
    assert len({row.text.partition(", ")[2] for row in rows[::3]}) == 3


def test_another_set_may_have_other_settings():
    assert make().write(SAMPLES[:1], CAPTIONS[:1], None, 1)[0].text.endswith(("sofa", "ball"))
    assert "rain" in make().write(SAMPLES[1:2], CAPTIONS[1:2], None, 1)[0].text


def test_braces_in_a_caption_are_text():
    row = make().write(SAMPLES[:1], [["a pet, {label} {x} (two)"]], None, 1)[0]
    assert row.text == "a photo of a cat, {label} {x} (two)"


def test_it_reads_captions_and_scores_only_where_the_guidance_does():
    assert make().reads == {"captions"}
    assert make(guidance=Quadratic(4.0, 2.0, 1.0, "clipscore")).reads == {"captions", "scores"}
    with pytest.raises(ValueError, match="this prompt reads captions, got none"):
        make().write(SAMPLES, None, None, 1)
    assert make().write([], [], None, 1) == []


def test_captions_without_a_setting_are_refused():
    with pytest.raises(UserError, match="got 'a cat' and the like; use captions=blip"):
        make().write(SAMPLES[:2], [["a cat"], ["a race car"]], None, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"template": "a {label}"},
            r"template: must be a template with \{domain\}, .* got 'a \{la",
        ),
        ({"template": "{caption}"}, r"no field but \{label\} and \{domain\}, got '\{caption\}'"),
        ({"num_domains": 0}, "num_domains: must be a whole number >= 1, got 0"),
    ],
)
def test_wrong_values_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        make(**changes)
