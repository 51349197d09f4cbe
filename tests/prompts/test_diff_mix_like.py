"""Diff-Mix's prompts: which other class each image is to show, its noise rate and its label."""

from collections import Counter
from dataclasses import replace

import pytest

from sip.core.errors import UserError
from sip.dataset.base import Sample
from sip.prompts.base import Prompt, SourceClass, Span
from sip.prompts.diff_mix_like import DiffMixLike
from tests.prompts.varied import COMMON

NAMES = ("ant", "bee", "cat", "dog", "emu")


def sample(number: int) -> Sample:
    label = number % len(NAMES)
    path = f"/data/{number}.png"
    return Sample(f"s{number}", path, label, NAMES[label], "train", 32, 32, f"sha{number}")


SAMPLES = [sample(number) for number in range(60)]  # 12 of each class


def make(**changes) -> DiffMixLike:
    values = {
        "template": "a photo of a {label}",
        "label_weight": 1.0,
        "caption_weight": 1.0,
        "targets": "uniform",
        "rates": [0.5, 0.7, 0.9],
        "gamma": 0.5,
    }
    return DiffMixLike(**(COMMON | values | changes))


def write(samples=SAMPLES, per_sample: int = 1, **changes) -> list[Prompt]:
    made = make(**changes)
    made.check(SAMPLES)
    return made.write(samples, None, None, per_sample)


def mixed(prompt: Prompt) -> SourceClass:
    assert prompt.source_class is not None
    return prompt.source_class


@pytest.mark.parametrize("targets", ["uniform", "balanced"])
def test_each_image_is_to_show_another_class_than_its_originals(targets: str) -> None:
    prompts = write(per_sample=2, targets=targets)
    assert len(prompts) == 120
    for prompt, original in zip(prompts, [s for s in SAMPLES for _ in range(2)], strict=True):
        assert (prompt.sample_id, prompt.source) == (original.sample_id, original.path)
        assert prompt.label != original.label
        assert prompt.class_name == NAMES[prompt.label]
        assert prompt.text == f"a photo of a {prompt.class_name}"
        assert (mixed(prompt).label, mixed(prompt).class_name) == (
            original.label,
            original.class_name,
        )


@pytest.mark.parametrize(
    ("rate", "gamma", "share"),
    [
        (0.5, 0.5, 0.70710678),
        (0.9, 0.5, 0.94868330),
        (0.7, 1.0, 0.7),
        (0.3, 2.0, 0.09),
        (0.3, 0, 1),
    ],
)
def test_the_share_of_the_target_is_the_papers(rate: float, gamma: float, share: float) -> None:
    prompt = write(SAMPLES[:1], rates=[rate], noise_rate=rate, gamma=gamma)[0]
    assert prompt.noise_rate == rate
    assert mixed(prompt).label_share == pytest.approx(share, abs=1e-8)


def test_each_image_has_one_of_the_rates_and_the_share_of_its_own() -> None:
    prompts = write(per_sample=5)
    counts = Counter(prompt.noise_rate for prompt in prompts)
    assert set(counts) == {0.5, 0.7, 0.9}
    assert min(counts.values()) > 70  # of 100 expected
    assert {round(mixed(p).label_share ** 2, 9) == p.noise_rate for p in prompts} == {True}
    assert make(rates=[0.7, 0.9, 0.5], noise_rate=0.7).noise_rates == (0.5, 0.9)


def test_uniform_targets_depend_on_the_original_only_and_do_not_come_twice() -> None:
    few = {(p.sample_id, p.variant): p for p in write(SAMPLES[7:30])}
    many = {(p.sample_id, p.variant): p for p in write(per_sample=4)}
    assert all(many[key] == prompt for key, prompt in few.items())
    of_sample: dict[str, list[int]] = {}
    for (name, _), prompt in many.items():
        of_sample.setdefault(name, []).append(prompt.label)
    assert {len(set(labels)) for labels in of_sample.values()} == {4}
    counts = Counter((mixed(p).label, p.label) for p in write([sample(n) for n in range(1000)]))
    assert len(counts) == 20 and 25 < min(counts.values()) < max(counts.values()) < 80  # of 50
    assert write(seed=1) != write()


@pytest.mark.parametrize("per_sample", [1, 2, 3])
def test_balanced_targets_come_equally_often(per_sample: int) -> None:
    prompts = write(per_sample=per_sample, targets="balanced")
    totals = Counter(prompt.label for prompt in prompts)
    assert set(totals.values()) == {12 * per_sample}
    pairs = Counter((mixed(prompt).label, prompt.label) for prompt in prompts)
    assert set(pairs.values()) == {3 * per_sample}
    fewer = [p for p in prompts if p.variant == 0]
    assert fewer == write(targets="balanced")
    assert len(set(pairs)) == 20


def test_balanced_targets_of_unequal_classes_differ_by_one_within_a_class() -> None:
    uneven = [s for s in SAMPLES if s.label or int(s.sample_id[1:]) < 35]  # 7 of the first class
    made = make(targets="balanced")
    made.check(uneven)
    pairs = Counter((mixed(p).label, p.label) for p in made.write(uneven, None, None, 1))
    for label in range(5):
        of_class = [pairs[label, other] for other in range(5) if other != label]
        assert max(of_class) - min(of_class) <= 1


def test_a_part_of_the_originals_has_the_classes_of_all() -> None:
    (alone,) = write(SAMPLES[:1])
    assert alone == write()[0]
    (trial,) = make().write(SAMPLES[:1], None, None, 1)  # a measurement, before any check
    assert (trial.class_name, trial.source_class) == ("ant", None)


def test_captions_are_those_of_the_original() -> None:
    template = "a photo of a {label}, {caption}"
    made = make(template=template, label_weight=1.5)
    made.check(SAMPLES)
    assert made.reads == {"captions", "scores"}
    (prompt,) = made.write(SAMPLES[:1], [["on a leaf"]], [[0.3]], 1)
    assert prompt.spans[1] == Span(prompt.class_name, 1.5) and prompt.class_name != "ant"
    assert prompt.spans[-1] == Span("on a leaf", 1.0)


def test_the_label_does_not_decide_the_pixels() -> None:
    plain, weaker = write()[0], write(gamma=2.0)[0]
    assert plain.image_id == weaker.image_id
    assert mixed(plain).label_share > mixed(weaker).label_share
    assert make().recipe() != make(gamma=2.0).recipe()


def test_refusals() -> None:
    with pytest.raises(
        UserError, match=r"noise_rate: must be the first of prompts.rates, 0.5, got"
    ):
        make(noise_rate=0.7)
    with pytest.raises(UserError, match="gamma: must be a number >= 0, got -1"):
        make(gamma=-1.0)
    only = [replace(one, label=0, class_name="ant") for one in SAMPLES[:3]]
    with pytest.raises(UserError, match="dataset: must be images of two classes.* got .only ant"):
        make().check(only)
    with pytest.raises(UserError, match=r"label_share .* must be in \[0, 1\], got 1.5"):
        write()[0].towards(9, "fox", 1.5)
