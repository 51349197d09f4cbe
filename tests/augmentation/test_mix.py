"""mixup and CutMix are torchvision's and timm's, with the same random numbers."""

import numpy as np
import pytest
import torch
from timm.data.mixup import Mixup
from torchvision.transforms import v2

from sip.augmentation.mix.cutmix import CutMix
from sip.augmentation.mix.mixup import MixUp
from sip.augmentation.mix.mixup_cutmix import MixUpCutMix
from sip.augmentation.mix.none import NoMix

TARGETS = torch.eye(5)
IMAGES = torch.rand(5, 3, 16, 16, generator=torch.manual_seed(0))
PAIRS = {
    "mixup": (MixUp(1.0, 1.0), v2.MixUp(alpha=1.0, num_classes=5)),
    "cutmix": (CutMix(1.0, 1.0), v2.CutMix(alpha=1.0, num_classes=5)),
}


def seen_by(mix, images: torch.Tensor, targets: torch.Tensor, seed: int):
    """Return the images that the model got, and the targets."""
    torch.manual_seed(seed)
    return mix(lambda x: x, images, targets)


class Numbers:
    """numpy's random numbers as timm asks for them, from given ones."""

    def __init__(self, lam: float, centre: tuple[int, int]) -> None:
        self.lam, self.centre = lam, iter(centre)

    def rand(self) -> float:
        return 0.0  # mixed

    def beta(self, *_: float) -> float:
        return self.lam

    def randint(self, *_: int, size: None) -> np.ndarray:
        return np.array(next(self.centre))


def numbers(seed: int, size: int) -> Numbers:
    """Return the random numbers of our class with this seed: the share, then x and y."""
    torch.manual_seed(seed)
    lam = float(torch.distributions.Beta(torch.tensor([1.0]), torch.tensor([1.0])).sample(()))
    x, y = (int(torch.randint(size, (1,))) for _ in "xy")
    return Numbers(lam, (y, x))


@pytest.mark.parametrize("name", PAIRS)
def test_it_is_timms_with_the_same_random_numbers(name: str, monkeypatch) -> None:
    # In a batch of two the neighbour (torchvision) and the mirrored place (timm) are one.
    images, labels, compared = IMAGES[:2], torch.tensor([3, 1]), 0
    alphas = (1.0, 0.0) if name == "mixup" else (0.0, 1.0)
    theirs = Mixup(*alphas, label_smoothing=0.0, num_classes=5)
    for seed in range(40):
        values = numbers(seed, 16)
        if name == "cutmix" and int(16 * (1 - values.lam) ** 0.5) % 2:
            continue  # timm's box is a pixel larger if its side is odd
        monkeypatch.setattr("timm.data.mixup.np.random", values)
        expected = theirs(images.clone(), labels)
        monkeypatch.undo()
        mixed, targets = seen_by(PAIRS[name][0], images, TARGETS[labels], seed)
        torch.testing.assert_close(mixed, expected[0])
        torch.testing.assert_close(targets, expected[1])
        compared += 1
    assert compared >= 10


@pytest.mark.parametrize("seed", range(5))
def test_cutmix_targets_are_the_shares_of_the_area(seed: int) -> None:
    images = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 3, 16, 16)
    mixed, targets = seen_by(CutMix(1.0, 1.0), images, TARGETS, seed)
    for row in range(5):
        shares = [(mixed[row, 0] == value).float().mean() for value in range(5)]
        torch.testing.assert_close(targets[row], torch.stack(shares))


def test_a_share_of_one_changes_nothing(monkeypatch) -> None:
    monkeypatch.setattr(torch.distributions.Beta, "sample", lambda *_: torch.ones(1))
    for mix, _ in PAIRS.values():
        mixed, targets = seen_by(mix, IMAGES, TARGETS, 0)
        assert torch.equal(mixed, IMAGES)
        assert torch.equal(targets, TARGETS)


@pytest.mark.parametrize("kind", [MixUp, CutMix])
def test_it_leaves_its_input_alone_and_mixes_with_its_probability(kind) -> None:
    before = IMAGES.clone()
    changed = [
        not torch.equal(seen_by(kind(1.0, 0.5), IMAGES, TARGETS, seed)[1], TARGETS)
        for seed in range(200)
    ]
    assert torch.equal(IMAGES, before)
    assert 0.35 < sum(changed) / len(changed) < 0.6  # a box may also be empty


def test_the_switch_takes_each_as_often_and_both_are_torchvisions() -> None:
    counts = dict.fromkeys(PAIRS, 0)
    for seed in range(200):
        mixed, targets = seen_by(MixUpCutMix(1.0, 1.0, 1.0, 0.5), IMAGES, TARGETS, seed)
        torch.manual_seed(seed)
        name = "cutmix" if torch.rand(()) < 0.5 else "mixup"
        expected = PAIRS[name][1](IMAGES, torch.arange(5))
        assert torch.equal(mixed, expected[0])
        torch.testing.assert_close(targets, expected[1])
        counts[name] += 1
    assert min(counts.values()) > 70


def test_no_batch_is_mixed_at_probability_zero() -> None:
    for mix in (MixUp(1.0, 0.0), CutMix(1.0, 0.0), MixUpCutMix(1.0, 1.0, 0.0, 0.5)):
        seen, targets = seen_by(mix, IMAGES, TARGETS, 0)
        assert seen is IMAGES
        assert targets is TARGETS


def test_weights_are_mixed_as_the_labels_are() -> None:
    weights = torch.tensor([1.0, 0.5, 1.0, 0.25, 1.0])
    for mix, _ in PAIRS.values():
        shares = seen_by(mix, IMAGES, TARGETS, 3)[1]
        weighted = seen_by(mix, IMAGES, TARGETS * weights[:, None], 3)[1]
        torch.testing.assert_close(weighted, shares * weights)


def test_no_mix_is_the_model_alone() -> None:
    seen, targets = seen_by(NoMix(), IMAGES, TARGETS, 0)
    assert seen is IMAGES
    assert targets is TARGETS
