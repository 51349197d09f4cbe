"""How many images each original gets when classes are balanced."""

from collections import Counter

import pytest

from sip.core.errors import UserError
from sip.dataset.base import Sample
from sip.images.balance import balanced, describe


def samples(sizes):
    """Return originals of classes of these sizes, the classes interleaved."""
    rows = [(n, label) for label, size in enumerate(sizes) for n in range(size)]
    return [
        Sample(f"{label}-{n}", f"{label}-{n}.png", label, str(label), "train", 8, 8, f"{label}{n}")
        for n, label in sorted(rows)
    ]


def per_class(originals, counts):
    totals = Counter()
    for sample in originals:
        totals[sample.label] += counts[sample.sample_id]
    return dict(totals)


@pytest.mark.parametrize("per_sample", [1, 3])
@pytest.mark.parametrize("sizes", [[5, 2, 3], [4, 4], [7], [1, 40]])
def test_classes_are_even_and_spread_over_their_originals(sizes, per_sample):
    originals = samples(sizes)
    counts = balanced(originals, per_sample, None)
    assert set(per_class(originals, counts).values()) == {per_sample * max(sizes)}
    for label in range(len(sizes)):
        of_class = [counts[s.sample_id] for s in originals if s.label == label]
        assert max(of_class) - min(of_class) <= 1 and of_class == sorted(of_class, reverse=True)


def test_a_bound_leaves_small_classes_smaller():
    originals = samples([6, 1])
    counts = balanced(originals, 2, 5)
    assert per_class(originals, counts) == {0: 12, 1: 5}
    text = "5 to 12 images of each class, 2 to 5 of each original"
    assert describe(originals, counts) == text


def test_nothing_to_balance():
    assert balanced([], 2, None) == {}


def test_a_bound_without_balance_is_refused(make_img2img):
    with pytest.raises(
        UserError, match="max_per_sample: must be null without images.balance, got 3"
    ):
        make_img2img(max_per_sample=3)
    assert make_img2img(max_per_sample=3, balance=True).max_per_sample == 3
