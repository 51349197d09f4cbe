"""RandAugment and CutMix do what torchvision and their papers say."""

import pytest
import torch
from torchvision.transforms import v2

from sip.augmentation.mix.cutmix import CutMix
from sip.augmentation.mix.none import NoMix
from sip.augmentation.sample.randaugment import RandAugment

TARGETS = torch.eye(5)


def seen_by(mix, pictures: torch.Tensor, targets: torch.Tensor, seed: int):
    """Return the pictures that the model got, and the targets."""
    torch.manual_seed(seed)
    return mix(lambda x: x, pictures, targets)


@pytest.mark.parametrize("seed", range(5))
def test_cutmix_equals_torchvisions_on_index_labels(seed: int) -> None:
    pictures = torch.rand(5, 3, 16, 16)
    torch.manual_seed(seed)
    expected = v2.CutMix(alpha=1.0, num_classes=5)(pictures, torch.arange(5))
    mixed, targets = seen_by(CutMix(1.0, 1.0), pictures, TARGETS, seed)
    assert torch.equal(mixed, expected[0])
    torch.testing.assert_close(targets, expected[1])


@pytest.mark.parametrize("seed", range(5))
def test_cutmix_targets_are_the_shares_of_the_area(seed: int) -> None:
    pictures = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 3, 16, 16)
    mixed, targets = seen_by(CutMix(1.0, 1.0), pictures, TARGETS, seed)
    for row in range(5):
        shares = [(mixed[row, 0] == value).float().mean() for value in range(5)]
        torch.testing.assert_close(targets[row], torch.stack(shares))


def test_cutmix_leaves_its_input_alone_and_mixes_with_its_probability() -> None:
    pictures = torch.rand(5, 3, 16, 16)
    before = pictures.clone()
    changed = [
        not torch.equal(seen_by(CutMix(1.0, 0.5), pictures, TARGETS, seed)[1], TARGETS)
        for seed in range(200)
    ]
    assert torch.equal(pictures, before)
    assert 0.35 < sum(changed) / len(changed) < 0.6  # a box may also be empty


def test_no_mix_is_the_model_alone() -> None:
    pictures = torch.rand(5, 3, 16, 16)
    seen, targets = seen_by(NoMix(), pictures, TARGETS, 0)
    assert seen is pictures
    assert targets is TARGETS


def test_randaugment_is_torchvisions_and_fills_with_black() -> None:
    picture = torch.full((3, 32, 32), 200, dtype=torch.uint8)
    for seed in range(10):
        torch.manual_seed(seed)
        expected = v2.RandAugment(num_ops=2, magnitude=9, fill=0)(picture)
        torch.manual_seed(seed)
        assert torch.equal(RandAugment(2, 9, 0)(picture), expected)


def test_randaugment_never_mirrors() -> None:
    names = {name.lower() for name in v2.RandAugment._AUGMENTATION_SPACE}
    assert not any("flip" in name for name in names)
