"""Prompts from a list: which image gets which, what is read, what is refused."""

from collections import Counter
from dataclasses import replace

import pytest

from sip.core.errors import UserError
from sip.prompts.guidance.constant import Constant
from sip.prompts.guidance.quadratic import Quadratic
from sip.prompts.templates import Templates
from tests.prompts.varied import COMMON, SAMPLES

STYLES = ["autumn", "snowy", "a {label} at sunset"]


def make(**changes) -> Templates:
    return Templates(**({"templates": STYLES} | COMMON | changes))


def texts(per_sample: int = 1, **changes) -> list[str]:
    return [row.text for row in make(**changes).write(SAMPLES, None, None, per_sample)]


def test_variants_go_through_the_list_and_start_anywhere():
    written = texts(3)
    firsts = Counter()
    for number, sample in enumerate(SAMPLES):
        own = written[3 * number : 3 * number + 3]
        assert set(own) == {"autumn", "snowy", f"a {sample.class_name} at sunset"}
        firsts[own[0] if own[0] in STYLES else STYLES[2]] += 1
    assert set(firsts) == set(STYLES)
    again = texts(7)
    assert again[3] == again[0] != again[1]  # the fourth is the first again


def test_what_one_image_is_told_depends_on_it_alone():
    assert texts(1) == texts(3)[::3]
    one_by_one = [make().write([sample], None, None, 1)[0].text for sample in SAMPLES]
    assert one_by_one == texts(1)
    assert texts(1, seed=1) != texts(1)
    assert texts(1, noise_rate=0.7, guidance=Constant(1.0)) == texts(1)


def test_rows_are_complete():
    row = make(noise_rate=0.7, negative_prompt="blurred").write(SAMPLES, None, None, 1)[1]
    assert (row.sample_id, row.source_sha256, row.class_name) == ("s1", "sha1", "race car")
    assert (row.negative_prompt, row.noise_rate, row.guidance_scale) == ("blurred", 0.7, 4.0)
    assert (row.caption, row.similarity, row.variant) == (None, None, 0)
    assert [span.weight for span in row.spans] == [1.0]
    assert make(templates=[""]).write(SAMPLES, None, None, 1)[0].spans == ()


def test_captions_are_read_where_the_guidance_needs_them():
    assert make().reads == frozenset()
    guided = make(guidance=Quadratic(4.0, 2.0, 1.0, "clipscore"))
    assert guided.reads == {"captions", "scores"}
    row = guided.write(SAMPLES[:1], [["a cat", "a tabby"]], [[0.1, 0.4]], 1)[0]
    assert (row.caption, row.similarity, row.guidance_scale) == ("a tabby", 0.4, 7.0)
    with pytest.raises(ValueError, match="this prompt reads captions and scores, got none"):
        guided.write(SAMPLES, None, None, 1)


def test_braces_in_a_class_name_are_text():
    odd = replace(SAMPLES[0], class_name="{label} {x}")
    assert make(templates=["a {label}"]).write([odd], None, None, 1)[0].text == "a {label} {x}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"templates": []}, r"templates: must be a list, text each, at least 1, got \[\]"),
        ({"templates": "autumn"}, "templates: must be a list, .* got 'autumn'"),
        ({"templates": [3]}, r"templates: must be a list, .* got \[3\]"),
        ({"templates": ["{lable}"]}, r"no field but \{label\}, got '\{lable\}'"),
    ],
)
def test_wrong_values_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        make(**changes)
