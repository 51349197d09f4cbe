"""What each filter keeps, against the rule written out again; and what it refuses."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax

from sip.config.build import build
from sip.core.errors import UserError
from sip.filter import duplicate
from sip.filter.agreement import Agreement
from sip.filter.base import Candidate, Filter
from sip.filter.duplicate import Duplicate, copies
from sip.filter.guided import Guided
from sip.filter.similarity import Similarity
from sip.filter.zero_shot import ZeroShot
from tests.composing import composed
from tests.filter.facts import Known, candidates, random_facts

CONF = Path(__file__).parents[2] / "conf"
TEMPLATE = "a photo of a {label}"
CHOICES = sorted(path.stem for path in (CONF / "filter").glob("*.yaml"))


@pytest.fixture(scope="module", params=CHOICES)
def chosen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Filter:
    config = composed(name=f"filter/{request.param}").filter
    if request.param == "review":
        config.file = str(tmp_path_factory.mktemp("review") / "review.csv")
        rows = [f"{one.image_id},accept" for one in candidates([0, 1, 2, 1], 3)]
        Path(config.file).write_text("\n".join(["image_id,decision", *rows, "image4-0,reject"]))
    return build(config)


def kept(verdicts: list) -> list[int]:
    return [row for row, verdict in enumerate(verdicts) if verdict.reason is None]


def test_every_choice_keeps_the_contract(chosen: Filter) -> None:
    generated = candidates([0, 1, 2, 1], per_sample=3)
    facts = random_facts(generated)
    chosen.check(3)
    verdicts = chosen.judge(generated, facts)
    assert len(verdicts) == len(generated)
    assert all((verdict.reason is None) == (verdict.detail is None) for verdict in verdicts)
    assert chosen.judge(generated, facts) == verdicts
    assert chosen.reads <= {"embeddings", "control"}
    assert chosen.filters == (type(chosen).__name__ != "KeepAll")
    assert chosen.filters or verdicts == [verdicts[0]] * len(generated)


def test_a_filter_that_judges_images_singly_judges_each_as_among_others(chosen: Filter) -> None:
    generated = candidates([0, 1, 2, 1], per_sample=3)
    facts = random_facts(generated)
    together = chosen.judge(generated, facts)
    singly = [chosen.judge([one], facts)[0] for one in generated]
    if chosen.single:
        assert singly == together
    expected = {"ZeroShot", "Agreement", "KeepAll", "Review"}
    assert chosen.single == (type(chosen).__name__ in expected)
    assert Similarity(TEMPLATE, None, 0.2).single


def cosines(generated: list[Candidate], facts: Known) -> list[float]:
    pairs = [
        (facts.vectors[one.sha256], facts.vectors[f"a photo of a {one.class_name}"])
        for one in generated
    ]
    return [round(float(np.dot(*pair)), 4) for pair in pairs]


@pytest.mark.parametrize(("keep", "nums"), [(0.5, (3, 1)), (0.6, (3, 2)), (1, (5, 2))])
def test_the_best_share_of_each_class_is_kept(keep: float, nums: tuple[int, int]) -> None:
    generated = candidates([0, 1, 0, 0, 1, 0, 0])
    facts = random_facts(generated)
    found = kept(Similarity(TEMPLATE, keep, None).judge(generated, facts))
    values = cosines(generated, facts)
    for label, num in zip((0, 1), nums, strict=True):
        rows = [row for row, one in enumerate(generated) if one.label == label]
        best = sorted(rows, key=lambda row: values[row], reverse=True)[:num]
        assert sorted(best) == [row for row in found if generated[row].label == label]


def test_of_equals_the_first_is_kept_and_a_share_is_no_matter_of_rounding() -> None:
    generated = candidates([0] * 10)
    facts = random_facts(generated)
    facts.vectors |= {one.sha256: facts.vectors["generated0-0"] for one in generated}
    assert kept(Similarity(TEMPLATE, 0.7, None).judge(generated, facts)) == list(range(7))
    assert kept(Similarity(TEMPLATE, 0.29, None).judge(generated, facts)) == [0, 1, 2]


def test_the_threshold_belongs_to_what_is_kept() -> None:
    generated = candidates([0, 1, 2, 0, 1, 2])
    facts = random_facts(generated)
    values = cosines(generated, facts)
    threshold = sorted(values)[2]
    verdicts = Similarity(TEMPLATE, None, threshold).judge(generated, facts)
    assert kept(verdicts) == [row for row, value in enumerate(values) if value >= threshold]
    assert len(kept(verdicts)) == 4
    (worst,) = [row for row, value in enumerate(values) if value == min(values)]
    assert verdicts[worst].reason == "below the threshold"
    assert f"{values[worst]:.3f}" in str(verdicts[worst].detail)


def test_only_confident_contradictions_are_rejected() -> None:
    generated = candidates([0, 0, 0, 1])
    seen = [[0.6, 0.3, 0.1], [0.25, 0.5, 0.25], [0.1, 0.2, 0.7], [0.0, 1.0, 0.0]]
    facts = Known(probabilities={one.path: row for one, row in zip(generated, seen, strict=True)})
    verdicts = Agreement(0.5).judge(generated, facts)
    assert kept(verdicts) == [0, 1, 3]  # row 1 contradicts with just the confidence
    assert (verdicts[2].reason, verdicts[2].detail) == ("contradicted", "seen as ox with 0.70")
    assert kept(Agreement(0).judge(generated, facts)) == [0, 3]


def test_zero_shot_keeps_what_its_labels_prompt_is_nearest_to_by_the_margin() -> None:
    generated = candidates([0, 1, 2, 0, 1, 2, 0, 1, 2])
    facts = random_facts(generated)
    texts = np.stack([facts.vectors[f"a photo of a {name}"] for name in facts.class_names])
    logits = 10.0 * np.stack([facts.vectors[one.sha256] for one in generated]) @ texts.T
    seen = softmax(logits, axis=1)
    margins = [row[one.label] - max(np.delete(row, one.label))
               for one, row in zip(generated, seen, strict=True)]  # fmt: skip
    nearest = [row for row, one in enumerate(generated) if seen[row].argmax() == one.label]
    verdicts = ZeroShot(TEMPLATE, 0.0, 10.0).judge(generated, facts)
    assert kept(verdicts) == nearest and 0 < len(nearest) < 9
    own = [row[one.label] for one, row in zip(generated, seen, strict=True)]
    assert [one.probability for one in verdicts] == pytest.approx(own, abs=1e-4)
    margin = sorted(margins)[-2] - 0.001
    sure = ZeroShot(TEMPLATE, margin, 10.0).judge(generated, facts)
    assert kept(sure) == [row for row, value in enumerate(margins) if value >= margin]
    assert {one.reason for one in sure} == {None, "another class", "unsure of its class"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Candidate]:
    """Images: 0 and 3 differ; 1 is a copy of its original, 2 of 0, 4 nearly of 3."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)

    def save(name: str, seed: int, **options: int) -> str:
        coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
        image = Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC)
        path = folder / name
        image.save(path, **options)
        return str(path)

    generated = []
    seeds = {0: (1, 11), 1: (2, 2), 2: (1, 13), 3: (4, 14), 4: (4, 15)}
    for number, (own, source) in seeds.items():
        name = f"{number}.jpg" if number == 4 else f"{number}.png"
        options = {"quality": 90} if number == 4 else {}
        sha256 = f"content{own}" + ("jpg" if number == 4 else "")
        path, original = save(name, own, **options), save(f"real{number}.jpg", source, quality=80)
        one = candidates([0])[0]
        values = (f"image{number}", f"sample{number}", 0, "cat")
        generated.append(type(one)(*values, path, sha256, original, f"real{rng.integers(1 << 30)}"))
    return generated


def test_copies_are_rejected_with_their_reason(files: list[Candidate]) -> None:
    verdicts = Duplicate(4, None).judge(files, Known())
    assert [verdict.reason for verdict in verdicts] == [
        None, "copy of its original", "copy of another", None, "copy of another",
    ]  # fmt: skip
    assert verdicts[4].detail == "of one from sample3"
    assert kept(Duplicate(None, None).judge(files, Known())) == [0, 1, 3, 4]  # by content only


def test_a_cosine_above_the_threshold_makes_a_copy() -> None:
    generated = candidates([0, 1, 2])
    facts = random_facts(generated, size=4)
    facts.vectors |= {one.source_sha256: np.eye(4, dtype=np.float32)[3] for one in generated}
    first, near, far = [1, 0, 0, 0], [0.96, 0.28, 0, 0], [0.6, 0.8, 0, 0]
    for one, vector in zip(generated, (first, near, far), strict=True):
        facts.vectors[one.sha256] = np.array(vector, np.float32)
    assert kept(Duplicate(None, 0.95).judge(generated, facts)) == [0, 2]
    assert kept(Duplicate(None, 0.97).judge(generated, facts)) == [0, 1, 2]
    facts.vectors["real0"] = np.array(near, np.float32)
    assert kept(Duplicate(None, 0.95).judge(generated, facts)) == [1, 2]  # 0 is kept no more
    assert Duplicate(None, 0.95).reads == {"embeddings"} and not Duplicate(4, None).reads


@pytest.mark.parametrize("seed", range(5))
def test_each_image_is_compared_with_the_kept_ones_before_it(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicate, "BLOCK", 3)
    alike = np.random.default_rng(seed).random((20, 20)) < 0.15
    alike |= alike.T | np.eye(20, dtype=bool)
    rows = [row for row in range(20) if row % 7]
    found = copies(rows, lambda rows, kept: alike[np.ix_(rows, kept)])
    expected: dict[int, int] = {}
    for row in rows:
        before = [one for one in rows if one < row and one not in expected and alike[row, one]]
        if before:
            expected[row] = before[0]
    assert found == expected and expected


@pytest.mark.parametrize(
    "chosen",
    [Similarity(TEMPLATE, 0.8, None), Guided(TEMPLATE, 1, 1, 100), ZeroShot(TEMPLATE, 0.0, 100.0)],
)
def test_embeddings_that_are_not_finite_are_refused(chosen: Filter) -> None:
    generated = candidates([0, 1])
    facts = random_facts(generated)
    facts.vectors["generated1-0"][2] = np.nan
    with pytest.raises(UserError, match="^filter: embeddings of generated1-0 must be .* got nan"):
        chosen.judge(generated, facts)


def test_probabilities_that_are_not_finite_are_refused() -> None:
    generated = candidates([0])
    facts = Known(probabilities={generated[0].path: [0.5, float("inf"), 0.0]})
    with pytest.raises(UserError, match="^filter: probabilities of /generated/0-0.png .* got inf"):
        Agreement(0.5).judge(generated, facts)


REFUSED: dict[str, Callable[[], object]] = {
    "keep: must be set if and only if filter.threshold, now 0.2, is null, got 0.8; set one": (
        lambda: Similarity(TEMPLATE, 0.8, 0.2)
    ),
    "keep: must be .* now None, is null, got null": lambda: Similarity(TEMPLATE, None, None),
    r"keep: must be in \(0, 1\] or null, got 0$": lambda: Similarity(TEMPLATE, 0, None),
    "keep: must be .* got '80%'": lambda: Similarity(TEMPLATE, "80%", None),  # type: ignore[arg-type]
    r"threshold: must be in \[-1, 1\] or null, got 1.5": lambda: Similarity(TEMPLATE, None, 1.5),
    "template: must be a template with {label}, and no field but {label}, got 'x'": (
        lambda: Similarity("x", 0.8, None)
    ),
    "template: must be .* got '{label} {caption}'": (
        lambda: Similarity("{label} {caption}", 0.8, None)
    ),
    "template: must be .* got '{label'; expected '}'": lambda: Similarity("{label", 0.8, None),
    r"confidence: must be in \[0, 1\), got 1$": lambda: Agreement(1),
    r"bits: must be a whole number in \[0, 64\) or null, got 64": lambda: Duplicate(64, None),
    r"cosine: must be in \[-1, 1\] or null, got true": lambda: Duplicate(4, True),
    "num: must be a whole number >= 1, got 0": lambda: Guided(TEMPLATE, 0, 1, 100),
    "diversity: must be a number >= 0, got -1": lambda: Guided(TEMPLATE, 1, -1, 100),
    "logit_scale: must be a number > 0, got 0": lambda: Guided(TEMPLATE, 1, 1, 0),
    r"margin: must be in \[0, 1\), got 1": lambda: ZeroShot(TEMPLATE, 1.0, 100.0),
    "filter.num: must be at most images.per_sample=2, .* got 3": (
        lambda: Guided(TEMPLATE, 3, 1, 100).check(2)
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_values_out_of_range_are_refused(message: str) -> None:
    with pytest.raises(UserError, match=message):
        REFUSED[message]()
