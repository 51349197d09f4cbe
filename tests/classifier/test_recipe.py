"""Recipes compose for every profile, and are refused before work starts if they are wrong."""

import math
import re
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate

from sip.backbone.timm import Timm
from sip.classifier.schedule import StepRate
from sip.classifier.tuning.full import Full
from sip.classifier.tuning.lora import LoRA
from sip.classifier.tuning.probe import Probe
from sip.core.errors import UserError
from tests.classifier.made_up import BACKBONE
from tests.classifier.recipes import recipe
from tests.composing import composed

CONF = Path(__file__).parents[2] / "conf"
SHORT = {"optimizer": "sgd", "steps": 8, "warmup_steps": 2, "val_every": 4}


@pytest.mark.parametrize("profile", ["embedded", "paper"])
@pytest.mark.parametrize("choice", sorted(p.stem for p in (CONF / "classifier").glob("*.yaml")))
def test_every_preset_composes(profile: str, choice: str) -> None:
    config = composed(f"profile={profile}", f"classifier={choice}")
    recipe = instantiate(config.classifier, _convert_="all")
    assert recipe.recipe()["steps"] == recipe.steps


@pytest.mark.parametrize("profile", ["embedded", "paper"])
@pytest.mark.parametrize(
    ("experiment", "choice"),
    [("resnet50_sip", "scratch"), ("vit_sip", "finetune"), ("clip_vit_sip", "finetune_clip")],
)
def test_arms_of_a_backbone_share_one_recipe(profile: str, experiment: str, choice: str) -> None:
    recipes = []
    expected = composed(f"profile={profile}", f"classifier={choice}")
    for arm in ("none", "sip_moex_cutmix"):
        overrides = [f"+exp={experiment}", f"profile={profile}", f"augmentation={arm}"]
        recipes.append(composed(*overrides).classifier)
    assert all(recipe == expected.classifier for recipe in recipes)


@pytest.mark.parametrize(
    "arm", sorted((CONF / "augmentation").rglob("*.yaml")), ids=lambda p: p.stem
)
def test_no_arm_speaks_of_the_recipe(arm: Path) -> None:
    assert "classifier" not in arm.read_text()


@pytest.mark.parametrize(
    ("override", "tuning", "steps"),
    [("", Full, 150), ("classifier=probe", Probe, 100), ("classifier/tuning=lora", LoRA, 150)],
)
def test_the_command_line_is_stronger_than_the_backbone(override, tuning, steps) -> None:
    config = composed("backbone=vit", *filter(None, [override]))
    built = instantiate(config.classifier, _convert_="all")
    assert (type(built.tuning), built.steps) == (tuning, steps)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"schedule": "step"}, "schedule: must be a choice, set with a slash, got 'step'"),
        ({"tuning": "lora"}, "tuning: must be a choice, set with a slash, got 'lora'"),
        ({"lr": 0.0}, "lr: must be a number > 0, got 0.0"),
        ({"lr": math.inf}, "lr: must be a number > 0, got inf"),
        ({"momentum": 1.0}, r"momentum: must be in [0, 1), got 1.0"),
        ({"weight_decay": -0.1}, "weight_decay: must be a number >= 0, got -0.1"),
        ({"label_smoothing": 1.5}, r"label_smoothing: must be in [0, 1], got 1.5"),
        ({"budget": "hours"}, "budget: must be one of steps, epochs, got 'hours'"),
        ({"batch_size": 0}, "batch_size: must be a whole number >= 1, got 0"),
        ({"patience": 0}, "patience: must be a whole number >= 1 or null, got 0"),
        ({"layer_decay": 0.0}, r"layer_decay: must be in (0, 1], got 0.0"),
        ({"ema_decay": 1.0}, r"ema_decay: must be in (0, 1) or null, got 1.0"),
        ({"gradient_clip": 0.0}, "gradient_clip: must be a number > 0 or null, got 0.0"),
        ({"precision": "32"}, "precision: must be one of 32-true, bf16-mixed, 16-mixed, got '32'"),
        (
            {"val_every": 3},
            "steps: must be a multiple of classifier.val_every (3) and more than classifier.warmup",
        ),
        (
            {"warmup_steps": 8},
            "val_every (4) and more than classifier.warmup_steps (8), got 8; such as",
        ),
        ({"epochs": 2}, "epochs: must be a whole number >= 1 with classifier.budget=epochs, null"),
        ({"budget": "epochs"}, "with classifier.budget=steps, got null; the budget is epochs"),
        (
            {"layer_decay": 0.5, "tuning": Probe()},
            "layer_decay: must be 1 if not all layers are trained, got 0.5; set it to 1, or",
        ),
    ],
)
def test_wrong_values_are_refused(changed: dict, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        recipe(**{**SHORT, **changed})


def test_the_proposed_steps_are_accepted() -> None:
    for steps in (1, 7, 40, 250, 1001):
        with pytest.raises(UserError) as error:
            recipe(steps=steps, val_every=2000, warmup_steps=200)
        given = re.findall(r"classifier\.(\w+)=(\d+)", str(error.value))
        proposed = {key: int(value) for key, value in given}
        assert proposed["steps"] == steps
        recipe(**proposed)


def test_batches_of_one_image_are_refused_with_batch_norm() -> None:
    config = {"batch_size": 1, "steps": 12, "val_every": 3}
    message = "classifier.batch_size: must be at least 2 images a device .*, got 1"
    small = Timm("test_resnet", None, None, None, None, 0.0, 32, None, None)
    with pytest.raises(UserError, match=message):
        recipe(**config).require(small, small.create(2))
    state = torch.random.get_rng_state()
    network = Timm("test_vit", None, None, None, 8, 0.5, 32, None, None).create(2)
    after = torch.random.get_rng_state()
    recipe(**config).require(small, network)  # LayerNorm takes any
    assert torch.equal(torch.random.get_rng_state(), after) and not torch.equal(state, after)


def test_an_unknown_optimizer_is_refused_with_near_names() -> None:
    message = "classifier.optimizer: must be sgd, .*, got 'adamv'; near names: adam,"
    with pytest.raises(UserError, match=message):
        recipe(optimizer="adamv").check(BACKBONE)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StepRate([0.5, 0.5], 0.1), "milestones: must be a rising list of shares"),
        (lambda: StepRate([0.5, 30], 0.1), "milestones: must be a list, in (0, 1) each, got"),
        (lambda: StepRate([0.5], 1), "factor: must be in (0, 1), got 1"),
        (lambda: LoRA(0, 16, 0.0, None), "rank: must be a whole number >= 1, got 0"),
        (lambda: LoRA(8, 16, 1.0, None), "dropout: must be in [0, 1), got 1.0"),
        (lambda: LoRA(8, 16, 0.0, "qkv"), "targets: must be a list, text each"),
    ],
)
def test_wrong_parts_are_refused(make, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        make()
