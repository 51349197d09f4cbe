"""Recipes compose for every profile, and are refused before work starts where they are wrong."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from sip.classifier.schedule.constant import Constant
from sip.classifier.schedule.step import Step
from sip.classifier.tuning.full import Full
from sip.classifier.tuning.lora import LoRA
from sip.classifier.tuning.probe import Probe
from sip.core.errors import UserError
from tests.classifier.recipes import recipe

CONF = Path(__file__).parents[2] / "conf"
# What `recipe()` was before budgets, patience, schedules, tunings, averages and clipping came.
OLD = {
    "optimizer": "sgd",
    "lr": 0.1,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "steps": 8,
    "batch_size": 4,
    "warmup_steps": 2,
    "label_smoothing": 0.1,
    "val_every": 4,
    "precision": "32-true",
}


@pytest.mark.parametrize("profile", ["embedded", "paper"])
@pytest.mark.parametrize("choice", sorted(p.stem for p in (CONF / "classifier").glob("*.yaml")))
def test_every_preset_composes(profile: str, choice: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [f"profile={profile}", f"classifier={choice}"])
    recipe = instantiate(config.classifier, _convert_="all")
    assert recipe.recipe()["steps"] == recipe.steps


@pytest.mark.parametrize("profile", ["embedded", "paper"])
@pytest.mark.parametrize(
    ("experiment", "choice"),
    [("resnet50_sip", "scratch"), ("vit_sip", "finetune"), ("clip_vit_sip", "finetune_clip")],
)
def test_arms_of_a_backbone_share_one_recipe(profile: str, experiment: str, choice: str) -> None:
    recipes = []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        expected = compose("config", [f"profile={profile}", f"classifier={choice}"])
        for arm in ("none", "sip_moex_cutmix"):
            overrides = [f"+exp={experiment}", f"profile={profile}", f"augmentation={arm}"]
            recipes.append(compose("config", overrides).classifier)
    assert all(recipe == expected.classifier for recipe in recipes)


@pytest.mark.parametrize(
    "arm", sorted((CONF / "augmentation").rglob("*.yaml")), ids=lambda p: p.stem
)
def test_no_arm_speaks_of_the_recipe(arm: Path) -> None:
    assert "classifier" not in arm.read_text()


def test_recipes_of_older_runs_are_as_they_were() -> None:
    old = {"class": "sip.classifier.recipe.Recipe", "version": 1, **OLD}
    assert recipe(**OLD).recipe() == old
    assert list(recipe(**OLD).recipe()) == list(old)


@pytest.mark.parametrize(
    "changed",
    [
        {"schedule": Constant()},
        {"layer_decay": 0.75},
        {"ema_decay": 0.99},
        {"gradient_clip": 1.0},
        {"tuning": Probe()},
        {"tuning": LoRA(4, 8, 0.0, None)},
    ],
)
def test_what_is_not_neutral_is_in_the_recipe(changed: dict) -> None:
    (name,) = changed
    assert name in recipe(**changed).recipe()
    assert recipe(**changed).recipe() == {
        **recipe().recipe(),
        name: recipe(**changed).recipe()[name],
    }


@pytest.mark.parametrize(
    ("override", "tuning", "steps"),
    [("", Full, 150), ("classifier=probe", Probe, 100), ("classifier/tuning=lora", LoRA, 150)],
)
def test_the_command_line_is_stronger_than_the_backbone(override, tuning, steps) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", ["backbone=vit", *filter(None, [override])])
    built = instantiate(config.classifier, _convert_="all")
    assert (type(built.tuning), built.steps) == (tuning, steps)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"optimizer": "adamv"},
            r"classifier.optimizer: expected sgd, .*.*'adamv'; near names: adam,",
        ),
        ({"schedule": "step"}, r"classifier/schedule=step, came classifier.schedule=step"),
        ({"tuning": "lora"}, r"classifier/tuning=lora, came classifier.tuning=lora"),
        ({"layer_decay": 0.0}, r"classifier.layer_decay: expected above 0"),
        ({"layer_decay": 0.5, "tuning": Probe()}, r"expected 1 where not all layers are trained"),
        ({"ema_decay": 1.0}, r"classifier.ema_decay: expected null or between 0 and 1, got 1.0"),
        ({"gradient_clip": 0.0}, r"classifier.gradient_clip: expected null or above 0, got 0.0"),
        ({"precision": "32"}, r"classifier.precision: expected one of"),
        ({"val_every": 3}, r"multiple of classifier.val_every \(3\)"),
        ({"warmup_steps": 8}, r"classifier.warmup_steps: expected 0 to 7"),
    ],
)
def test_wrong_values_are_refused(changed: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipe(**{**OLD, **changed})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Step([0.5, 0.5], 0.1), r"schedule.milestones: expected rising"),
        (lambda: Step([0.5, 30], 0.1), r"schedule.milestones: .* between 0 and 1"),
        (lambda: Step([0.5], 1), r"schedule.factor: expected a number between 0 and 1, got 1"),
        (lambda: LoRA(0, 16, 0.0, None), r"tuning.rank: expected 1 or more, got 0"),
        (lambda: LoRA(8, 16, 1.0, None), r"tuning.dropout: expected 0 to below 1, got 1.0"),
        (lambda: LoRA(8, 16, 0.0, "qkv"), r"tuning.targets: expected null or a list .*'qkv'"),
    ],
)
def test_wrong_parts_are_refused(make, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
