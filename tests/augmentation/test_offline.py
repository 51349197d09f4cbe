"""How generated images enter the training: counts, weights, determinism, and what is refused."""

import math
import operator
import re
import tracemalloc
from collections import Counter

import pytest
import torch

from sip.augmentation.offline.generated import GeneratedMode
from sip.augmentation.offline.none import NoGenerated
from sip.classifier.module import weighted_cross_entropy
from sip.core.errors import UserError
from sip.core.hashing import seed_of

# Four real images, then two generated ones of each of the first three.
SOURCES = [None] * 4 + [0, 1, 2] * 2


def generated(mode: str, p: float = 0.5, weight: float = 0.5, ratio: float | None = None):
    return GeneratedMode(mode, p, weight, ratio)


def order(offline, length: int = 40, seed: int = 0) -> list[int]:
    return offline.order(SOURCES, length, seed).tolist()


@pytest.mark.parametrize("mode", ["concat", "weighted"])
def test_a_pass_holds_every_image_once(mode: str) -> None:
    seen = order(generated(mode), 25)
    assert Counter(seen[:10]) == Counter(seen[10:20]) == Counter(range(10))
    assert seen == order(NoGenerated(), 25)  # the order that all images have without a choice


@pytest.mark.parametrize(("ratio", "kept"), [(0.5, 2), (1, 4), (1.25, 5), (1.5, 6), (99, 6)])
def test_ratio_bounds_the_generated_images(ratio: float, kept: int) -> None:
    pool = generated("concat", ratio=ratio).pool(SOURCES, 0)
    assert pool[:4] == [0, 1, 2, 3]
    assert len(pool) == 4 + kept
    assert set(order(generated("concat", ratio=ratio))) == set(pool)
    variants = Counter(SOURCES[number] for number in pool[4:])
    assert max(variants.values()) - min(variants.values()) <= 1  # no original is preferred


def test_what_a_smaller_ratio_keeps_a_larger_one_keeps_too() -> None:
    pools = [set(generated("concat", ratio=r).pool(SOURCES, 0)) for r in (0.25, 0.5, 1, 1.25, 1.5)]
    assert all(less < more for less, more in zip(pools, pools[1:], strict=False))
    halves = {tuple(generated("concat", ratio=0.25).pool(SOURCES, seed)) for seed in range(20)}
    assert len(halves) == 3  # the seed chooses the original


def test_replace_shows_an_original_or_one_of_its_own() -> None:
    plain, seen = order(NoDrawn_of_real(), 4000), order(generated("replace", p=0.3), 4000)
    for real, shown in zip(plain, seen, strict=True):
        assert shown == real or SOURCES[shown] == real
    shares = Counter(shown == real for real, shown in zip(plain, seen, strict=True) if real != 3)
    assert 0.27 < shares[False] / shares.total() < 0.33
    variants = Counter(shown for shown in seen if shown >= 4)
    assert set(variants) == set(range(4, 10))
    assert max(variants.values()) < 1.4 * min(variants.values())
    assert 3 in seen  # it has no variant and is always itself


class NoDrawn_of_real(NoGenerated):  # noqa: N801
    """The plain arm of the same four real images."""

    def pool(self, sources, seed):
        return [0, 1, 2, 3]


def test_replace_is_the_plain_loop_and_takes_no_object_a_position() -> None:
    offline, length = generated("replace", p=0.4), 20_000
    wanted = order(NoDrawn_of_real(), length)
    chances = torch.Generator().manual_seed(seed_of(0, "replace"))
    numbers = torch.rand(length, 2, generator=chances, dtype=torch.float64).tolist()
    for position, (chance, choice) in enumerate(numbers):
        own = [n for n, source in enumerate(SOURCES) if source == wanted[position]]
        if chance < 0.4 and own:
            wanted[position] = own[int(choice * len(own))]
    tracemalloc.start()
    found = offline.order(SOURCES, length, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.tolist() == wanted
    assert peak < length  # bytes; a number as a Python object takes 24


@pytest.mark.parametrize(("p", "least", "most"), [(0.0, 0, 0), (1.0, 30, 30)])
def test_replace_at_its_ends(p: float, least: int, most: int) -> None:
    seen = order(generated("replace", p=p))
    assert least <= sum(number >= 4 for number in seen) <= most
    if p == 0:
        assert seen == order(NoDrawn_of_real())


def test_replace_heeds_the_ratio() -> None:
    kept = set(generated("concat", ratio=1 / 2).pool(SOURCES, 0)[4:])
    assert {
        number for number in order(generated("replace", 1.0, ratio=1 / 2)) if number >= 4
    } == kept
    assert generated("replace").pool(SOURCES, 0) == [0, 1, 2, 3]


@pytest.mark.parametrize("mode", ["concat", "replace", "weighted"])
def test_the_order_is_a_function_of_the_seed(mode: str) -> None:
    offline = generated(mode, ratio=1)
    torch.manual_seed(1)
    first = order(offline)
    torch.manual_seed(2)
    assert order(offline) == first
    assert order(offline, 60)[:40] == first  # a longer training begins with the shorter
    assert order(offline, seed=1) != first


PROBABILITIES = [None] * 4 + [1.0, 0.5, 0.25, 0.75, 0.0, 1.0]


def test_weights() -> None:
    given = SOURCES, PROBABILITIES
    assert NoGenerated().weights(*given) is generated("concat").weights(*given) is None
    assert generated("replace").weights(*given) is None
    assert generated("weighted", weight=0.25).weights(*given).tolist() == [1.0] * 4 + [0.25] * 6


def test_verdicts_weigh_generated_images_by_their_probability() -> None:
    verdict = generated("verdict")
    assert verdict.reads_probability and not generated("weighted").reads_probability
    weights = verdict.weights(SOURCES, PROBABILITIES)
    assert weights.tolist() == pytest.approx([1.0] * 4 + [1.0, 0.5, 0.25, 0.75, 1e-4, 1.0])
    assert order(verdict) == order(generated("concat"))
    assert verdict.weights(SOURCES, [None] * 4 + [1.0] * 6) is None  # plain mixing
    with pytest.raises(UserError, match="mixing.mode=verdict: must come with a verdict that"):
        verdict.weights(SOURCES, [None] * 10)


def test_the_loss_of_verdicts_is_that_of_an_independent_formula() -> None:
    weights = generated("verdict").weights(SOURCES, PROBABILITIES)
    logits = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(10) % 3
    targets = torch.nn.functional.one_hot(labels, 3) * weights[:, None]
    given = weighted_cross_entropy(logits, targets, 0.1).item()
    losses = []
    for row, label in zip(logits.double().tolist(), labels.tolist(), strict=True):
        log_sum = math.log(sum(map(math.exp, row)))
        smoothed = [0.9 * (number == label) + 0.1 / 3 for number in range(3)]
        losses.append(sum(s * (log_sum - x) for s, x in zip(smoothed, row, strict=True)))
    shares = [1, 1, 1, 1, 1, 0.5, 0.25, 0.75, 1e-4, 1]
    expected = sum(map(operator.mul, shares, losses)) / sum(shares)
    assert given == pytest.approx(expected, rel=1e-5)
    assert given != pytest.approx(sum(losses) / 10, rel=1e-3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            ("mix", 0.5, 0.5, None),
            "mode: must be one of concat, replace, weighted, verdict, got 'mix'",
        ),
        (("replace", 1.5, 0.5, None), "p: must be in [0, 1], got 1.5"),
        (("weighted", 0.5, 0, None), "weight: must be a number > 0, got 0"),
        (("concat", 0.5, 0.5, 0), "ratio: must be a number > 0 or null, got 0"),
    ],
)
def test_wrong_values_are_refused(values: tuple, message: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        GeneratedMode(*values)


def test_replace_needs_real_images() -> None:
    with pytest.raises(UserError, match="needs real images in train, got none"):
        generated("replace").pool([], 0)
