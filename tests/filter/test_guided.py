"""GIF's criteria against the formulas written out with scipy, and what is selected by them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy

from sip.filter.guided import Guided, divergence
from tests.composing import composed
from tests.filter.facts import CLASS_NAMES, Known, candidates, random_facts, unit

CONF = Path(__file__).parents[2] / "conf"
NAMED = [f"a photo of a {name}" for name in CLASS_NAMES]
TEMPLATE = "a photo of a {label}"
SCALE = 3.0


def expected(labels: list[int], per_sample: int, facts: Known, num: int) -> dict[int, str | None]:
    """Return what is to come of each row: None if it is kept, else the reason."""
    generated = candidates(labels, per_sample)
    texts = np.stack([facts.vectors[name] for name in NAMED])
    results: dict[int, str | None] = {}
    for start in range(0, len(generated), per_sample):
        rows = range(start, start + per_sample)
        label = generated[start].label
        before = softmax(SCALE * texts @ facts.vectors[generated[start].source_sha256])
        own = np.stack([facts.vectors[generated[row].sha256] for row in rows])
        mean = own.mean(0) / np.linalg.norm(own.mean(0))
        scores = {}
        for row, vector in zip(rows, own, strict=True):
            after = softmax(SCALE * texts @ vector)
            if after.argmax() != label and before.argmax() == label:
                results[row] = "another class"
                continue
            gain = entropy(after) - entropy(before)
            scores[row] = round(after[label] + gain + 2.0 * (1 - vector @ mean), 4)
        best = sorted(scores, key=lambda row: scores[row], reverse=True)
        results |= {row: None if row in best[:num] else "less informative" for row in best}
    return results


@pytest.mark.parametrize("seed", range(4))
def test_the_best_candidates_of_each_original_are_kept(seed: int) -> None:
    labels = [0, 1, 2, 1, 0]
    generated = candidates(labels, 4)
    facts = random_facts(generated, seed=seed)
    verdicts = Guided(TEMPLATE, 2, 2.0, SCALE).judge(generated, facts)
    found = {row: verdict.reason for row, verdict in enumerate(verdicts)}
    assert found == expected(labels, 4, facts, 2)
    reasons = set(found.values())
    assert reasons >= {None, "less informative"}


def test_a_candidate_of_another_class_is_rejected_where_the_original_is_read_right() -> None:
    generated = candidates([0, 0], 2)
    facts = random_facts(generated, size=3)
    axes = np.eye(3, dtype=np.float32)
    facts.vectors |= dict(zip(NAMED, axes, strict=True))
    facts.vectors |= {"real0": axes[0], "real1": axes[1]}  # a cat; one that looks like a dog
    facts.vectors |= {"generated0-0": axes[1], "generated0-1": unit(np.array([2.0, 1, 0]))}
    facts.vectors |= {"generated1-0": axes[1], "generated1-1": axes[2]}
    verdicts = Guided(TEMPLATE, 2, 1.0, SCALE).judge(generated, facts)
    assert [verdict.reason for verdict in verdicts] == ["another class", None, None, None]
    assert verdicts[0].detail == "zero-shot dog"


def test_an_image_on_its_way_to_another_class_must_show_that_one() -> None:
    cat, ox = candidates([1, 1])  # from two cats, to show a dog
    generated = [replace(one, source_label=0) for one in (cat, ox)]
    facts = random_facts(generated, size=3)
    axes = np.eye(3, dtype=np.float32)
    facts.vectors |= dict(zip(NAMED, axes, strict=True))
    facts.vectors |= {"real0": axes[0], "real1": axes[2]}  # the second looks like an ox
    facts.vectors |= {"generated0-0": axes[0], "generated1-0": axes[0]}
    verdicts = Guided(TEMPLATE, 1, 1.0, SCALE).judge(generated, facts)
    assert [verdict.reason for verdict in verdicts] == ["another class", None]


def test_the_divergence_is_the_distance_to_the_mean() -> None:
    assert divergence(unit(np.array([[1.0, 2.0]]))) == pytest.approx(0, abs=1e-6)
    apart = divergence(np.eye(2, dtype=np.float32))
    assert apart == pytest.approx([1 - 1 / np.sqrt(2)] * 2)


def test_certain_predictions_have_no_entropy() -> None:
    generated = candidates([0], 2)
    facts = random_facts(generated, size=3)
    with np.errstate(all="raise", under="ignore"):
        verdicts = Guided(TEMPLATE, 1, 1.0, 1e6).judge(generated, facts)
    assert len(verdicts) == 2


def test_gif_like_chooses_candidates_prompt_and_filter() -> None:
    config = composed("augmentation=gif_like")
    other = composed("augmentation=gif_like", "filter=none", "images.per_sample=2")
    plain = composed("augmentation=sip")
    assert config.filter._target_ == "sip.filter.guided.Guided"
    assert (config.images.per_sample, config.prompts.template) == (4, "a photo of a {label}")
    assert config.prompts.guidance.scale == 7.5
    assert config.augmentation.offline._target_ == plain.augmentation.offline._target_
    assert other.filter._target_ == "sip.filter.none.KeepAll" and other.images.per_sample == 2
    assert (plain.images.per_sample, plain.filter) == (1, other.filter)
