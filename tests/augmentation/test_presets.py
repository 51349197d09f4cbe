"""Every arm composes, keeps the contract of its three places, and takes a step."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from pytorch_lightning import Trainer
from torch.utils.data import DataLoader

from sip.augmentation.base import Augmentation
from sip.augmentation.offline.generated import GeneratedMode
from sip.classifier.data import DecodedImages, Stream
from sip.classifier.module import Classifier
from sip.config.build import build
from sip.core.errors import UserError
from sip.device.predict import quiet
from tests.architecture.choices import choices
from tests.classifier.recipes import recipe
from tests.composing import composed

SIZE, NUM_CLASSES, BATCH = 32, 3, 5  # an odd batch

SAMPLES = {
    "none": "AsIs",
    "flip_crop": "FlipCrop",
    "pad_crop": "PadCrop",
    **dict.fromkeys(("randaugment", "autoaugment", "trivialaugment"), "TorchvisionTransform"),
    **dict.fromkeys(("augmix", "color_jitter", "random_erasing"), "TorchvisionTransform"),
    "cutout": "Cutout",
    "gridmask": "GridMask",
}
MIXES = {
    "none": "NoMix",
    "mixup": "MixUp",
    "cutmix": "CutMix",
    "mixup_cutmix": "MixUpCutMix",
    "moex": "MoEx",
    "moex_cutmix": "MoExCutMix",
}
# Arms that name other stages' choices; in training they are as sip. What they generate: test_arms.
CHOSEN = (
    *("sip_adaptive", "sip_label", "sip_caption", "txt2img", "real_guidance"),
    *("diffusemix_like", "gif_like", "dalda_like", "alia_like", "retrieved"),
    *("diff_mix_like", "da_fusion_like", "datadream_like"),
)
OFFLINES = {"none": "NoGenerated", **dict.fromkeys(("sip", *CHOSEN), "GeneratedMode")}
PRESETS = {
    **{name: ("none", name, "none") for name in SAMPLES},
    **{name: ("none", "none", name) for name in MIXES},
    "combo": ("none", "none", "none"),
    "sip": ("sip", "none", "none"),
    **{f"sip_{name}": ("sip", name, "none") for name in ("randaugment", "trivialaugment")},
    **{f"sip_{name}": ("sip", "none", name) for name in ("mixup", "cutmix", "moex", "moex_cutmix")},
    "sip_adaptive_randaugment": ("sip_adaptive", "randaugment", "none"),
    **{name: (name, "none", "none") for name in CHOSEN},
}


def composed_arm(primary: str, *overrides: str) -> Augmentation:
    return build(composed(*overrides, name=primary).augmentation)


@cache
def arm(preset: str) -> Augmentation:
    """Return a preset; without the other stages, in half of the time, if it does not name any."""
    if PRESETS[preset][0] in CHOSEN:
        return composed_arm("config", f"augmentation={preset}", "augmentation/base=none")
    return composed_arm(f"augmentation/{preset}")


@cache
def place(group: str, choice: str) -> Any:
    """Return what a choice fills its place with."""
    if choice in CHOSEN:
        return getattr(arm(choice), group)
    return getattr(composed_arm("augmentation/combo", f"augmentation/{group}={choice}"), group)


def combined(offline: str, sample: str, mix: str) -> Augmentation:
    return Augmentation(place("offline", offline), place("sample", sample), place("mix", mix))


def test_these_are_all_choices() -> None:
    assert set(SAMPLES) <= set(choices("augmentation/sample"))
    assert set(MIXES) <= set(choices("augmentation/mix"))
    assert set(OFFLINES) == set(choices("augmentation/offline"))
    assert set(PRESETS) <= set(choices("augmentation"))


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_fills_the_places(preset: str) -> None:
    built, (offline, sample, mix) = arm(preset), PRESETS[preset]
    places = (built.offline, built.sample, built.mix)
    expected = (OFFLINES[offline], SAMPLES[sample], MIXES[mix])
    assert tuple(type(place).__name__ for place in places) == expected
    assert built.offline.generates == (offline != "none")
    assert built.recipe() == combined(offline, sample, mix).recipe()


def test_the_base_transforms_of_digits_and_of_the_papers_scale() -> None:
    names = set(choices("augmentation/base"))
    assert names == {"none", "crop", "flip_crop", "pad_crop", "resized_crop"}
    for profile, twins in {"embedded": {"crop"}, "paper": {"resized_crop"}}.items():
        of = f"profile={profile}"
        recipes = {n: composed_arm("config", of, f"augmentation/base={n}").recipe() for n in names}
        assert recipes["none"] == arm("none").recipe() and "base" not in recipes["none"]
        same = {n for n in names if recipes[n] == recipes["flip_crop"]}
        assert same == {"flip_crop", *twins}
        assert len({str(recipe) for recipe in recipes.values()}) == 4


def test_every_arm_takes_a_base_and_profiles_know_one() -> None:
    base = based("flip_crop").base
    assert base.recipe() == place("sample", "flip_crop").recipe()
    for preset in ("randaugment", "sip_moex"):
        built = composed_arm("config", f"augmentation={preset}", "augmentation/base=flip_crop")
        assert built.base.recipe() == base.recipe() | {"flip_prob": 0.0, "min_scale": 0.64}
        assert built.sample.recipe() == arm(preset).sample.recipe()
    paper = composed_arm("config", "profile=paper", "augmentation/base=resized_crop")
    assert (paper.base.min_scale, paper.base.flip_prob) == (0.08, 0.5)
    own = composed_arm("config", "augmentation/base=crop", "augmentation.base.min_scale=0.9")
    assert (own.base.min_scale, own.base.flip_prob) == (0.9, 0.0)


def based(name: str) -> Augmentation:
    return composed_arm("augmentation/combo", f"augmentation/base={name}")


def test_all_arms_differ() -> None:
    names = {name for name, places in PRESETS.items() if places[0] not in CHOSEN} - {"combo"}
    assert len({str(arm(name).recipe()) for name in names}) == len(names)


def test_any_combination_is_chosen_on_the_command_line() -> None:
    chosen = composed_arm(
        "config",
        "augmentation=combo",
        "augmentation/offline=sip",
        "augmentation/sample=randaugment",
        "augmentation/mix=moex",
        "augmentation/base=none",
        "mixing.mode=replace",
        "mixing.p=0.3",
    )
    expected = combined("sip", "randaugment", "moex").recipe()
    assert {**chosen.recipe(), "offline": None} == {**expected, "offline": None}
    assert chosen.recipe()["offline"]["p"] == 0.3


def test_mixing_is_there_for_every_arm_of_a_sweep() -> None:
    plain = composed_arm("augmentation/none", "mixing.mode=replace")
    assert plain.recipe() == arm("none").recipe()


def test_a_place_set_with_a_dot_is_refused_with_the_right_spelling() -> None:
    with pytest.raises(UserError, match="augmentation.offline: must be a choice, set with a slash"):
        composed_arm("augmentation/combo", "augmentation.offline=sip")


@pytest.mark.parametrize("choice", choices("augmentation/sample"))
def test_sample_keeps_type_and_shape_and_is_seeded(choice: str) -> None:
    transform = place("sample", choice)
    image = torch.randint(256, (3, SIZE, SIZE), dtype=torch.uint8)
    before = image.clone()
    for seed in range(20):
        seen = []
        for _ in range(2):
            torch.manual_seed(seed)
            seen.append(transform(image))
        assert torch.equal(image, before)
        assert seen[0].shape == image.shape
        assert seen[0].dtype == torch.uint8
        assert torch.equal(seen[0], seen[1])


@dataclass(frozen=True)
class Row:
    """A training image; a generated one names its original."""

    sample_id: str
    path: str
    label: int
    source: str | None = None


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[Row]:
    """Six real images, and two generated ones of each."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    made = []
    for number in range(18):
        path, real = folder / f"{number}.png", number % 6
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)).save(path)
        source = f"p{real}" if number > 5 else None
        made.append(Row(f"p{number}", str(path), real % NUM_CLASSES, source))
    return made


@cache
def network(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    options = {"img_size": SIZE} if "vit" in name else {}
    return timm.create_model(name, num_classes=NUM_CLASSES, **options).train()


def step(augmentation: Augmentation, rows: list[Row], name: str) -> float:
    """Take one optimiser step; return its loss."""
    given = rows if augmentation.offline.generates else rows[:6]
    images = DecodedImages(given, SIZE)
    stream = Stream(images, augmentation.transforms, BATCH, 0, augmentation.offline)
    values = recipe(
        optimizer="sgd",
        lr=1e-4,
        weight_decay=0.0,
        steps=1,
        batch_size=BATCH,
        warmup_steps=0,
        val_every=1,
    )
    grey = (0.5, 0.5, 0.5)
    module = Classifier(network(name), values, augmentation.mix, NUM_CLASSES, grey, grey, 0, 1)
    trainer = Trainer(
        max_steps=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    before = [value.detach().clone() for value in module.parameters()]
    with quiet():
        trainer.fit(module, DataLoader(stream, BATCH))
    after = module.parameters()
    assert any(not torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert trainer.global_step == 1
    return float(module.train_loss.compute())


@pytest.mark.parametrize("mix", choices("augmentation/mix"))
@pytest.mark.parametrize("offline", ["none", "sip"])
def test_every_combination_takes_a_step(offline: str, mix: str, rows) -> None:
    losses = {
        sample: step(combined(offline, sample, mix), rows, "test_resnet")
        for sample in choices("augmentation/sample")
    }
    assert {name: loss for name, loss in losses.items() if not np.isfinite(loss)} == {}


@pytest.mark.parametrize("mix", choices("augmentation/mix"))
@pytest.mark.parametrize("name", ["test_vit", "test_convnext"])
def test_every_mix_takes_a_step_with_other_backbones(name: str, mix: str, rows) -> None:
    assert np.isfinite(step(combined("sip", "none", mix), rows, name))


@pytest.mark.parametrize("mode", ["concat", "replace", "weighted"])
def test_every_way_of_entering_takes_a_step(mode: str, rows) -> None:
    for mix in choices("augmentation/mix"):
        places = combined("none", "none", mix)
        mixed = Augmentation(GeneratedMode(mode, 0.5, 0.5, 1), places.sample, places.mix)
        assert np.isfinite(step(mixed, rows, "test_resnet")), mix


@pytest.mark.parametrize("choice", choices("augmentation/mix"))
@pytest.mark.parametrize("num", [1, 4, 5])
def test_mix_keeps_shapes_and_probabilities(choice: str, num: int) -> None:
    images = torch.rand(num, 3, SIZE, SIZE)
    targets = torch.eye(NUM_CLASSES)[torch.arange(num) % NUM_CLASSES]
    logits, mixed = place("mix", choice)(network("test_vit"), images, targets)
    assert logits.shape == mixed.shape == targets.shape
    torch.testing.assert_close(mixed.sum(1), torch.ones(num))
