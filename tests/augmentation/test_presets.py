"""Every arm composes, and keeps the contract of its three places."""

from itertools import product
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from sip.augmentation.base import Augmentation

CONF = Path(__file__).parents[2] / "conf"


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / "augmentation" / group).glob("*.yaml"))


def arm(*overrides: str) -> Augmentation:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", list(overrides))
    return instantiate(config.augmentation, _convert_="all")


@pytest.mark.parametrize(
    ("preset", "classes"),
    [
        ("none", ("NoDrawn", "AsIs", "NoMix")),
        ("randaugment", ("NoDrawn", "RandAugment", "NoMix")),
        ("cutmix", ("NoDrawn", "AsIs", "CutMix")),
        ("sip", ("Concat", "AsIs", "NoMix")),
        ("sip_randaugment", ("Concat", "RandAugment", "NoMix")),
        ("sip_cutmix", ("Concat", "AsIs", "CutMix")),
    ],
)
def test_preset_fills_the_places(preset: str, classes: tuple[str, ...]) -> None:
    assert preset in choices(".")
    built = arm(f"augmentation={preset}")
    places = (built.offline, built.sample, built.mix)
    assert tuple(type(place).__name__ for place in places) == classes
    assert built.offline.draws == preset.startswith("sip")


def test_any_combination_is_chosen_on_the_command_line() -> None:
    for offline, sample, mix in product(*map(choices, ("offline", "sample", "mix"))):
        built = arm(
            f"augmentation/offline={offline}",
            f"augmentation/sample={sample}",
            f"augmentation/mix={mix}",
        )
        assert set(built.recipe()) == {"offline", "sample", "mix"}


def test_a_combination_is_the_preset_of_the_same_places() -> None:
    combined = arm("augmentation/offline=sip", "augmentation/mix=cutmix")
    assert combined.recipe() == arm("augmentation=sip_cutmix").recipe()
    assert combined.recipe() != arm("augmentation=cutmix").recipe()


@pytest.mark.parametrize("choice", choices("sample"))
def test_sample_keeps_type_and_shape_and_is_seeded(choice: str) -> None:
    transform = arm(f"augmentation/sample={choice}").sample
    picture = torch.randint(256, (3, 32, 32), dtype=torch.uint8)
    for seed in range(20):
        seen = []
        for _ in range(2):
            torch.manual_seed(seed)
            seen.append(transform(picture.clone()))
        assert seen[0].shape == picture.shape
        assert seen[0].dtype == torch.uint8
        assert torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("choice", choices("mix"))
@pytest.mark.parametrize("num", [1, 4, 5])
def test_mix_keeps_shapes_and_probabilities(choice: str, num: int) -> None:
    mix = arm(f"augmentation/mix={choice}").mix
    pictures = torch.rand(num, 3, 8, 8)
    targets = torch.eye(3)[torch.arange(num) % 3]
    logits, mixed = mix(lambda x: x.flatten(1)[:, :3], pictures, targets)
    assert logits.shape == mixed.shape == targets.shape
    torch.testing.assert_close(mixed.sum(1), torch.ones(num))
