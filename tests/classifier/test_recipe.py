"""Recipes compose for every profile, and are refused before work starts where they are wrong."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from sip.classifier.module import schedule
from sip.classifier.recipe import Recipe
from sip.common.errors import UserError

CONF = Path(__file__).parents[2] / "conf"
GOOD = {
    "optimizer": "sgd",
    "lr": 0.1,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "budget": "steps",
    "steps": 8,
    "epochs": None,
    "batch_size": 4,
    "warmup_steps": 2,
    "label_smoothing": 0.1,
    "val_every": 4,
    "patience": None,
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
    [("resnet50_sip", "default"), ("vit_sip", "finetune"), ("clip_vit_sip", "finetune_clip")],
)
def test_all_arms_of_a_backbone_share_one_recipe(
    profile: str, experiment: str, choice: str
) -> None:
    recipes = []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        expected = compose("config", [f"profile={profile}", f"classifier={choice}"])
        for arm in sorted(path.stem for path in (CONF / "augmentation").glob("*.yaml")):
            overrides = [f"+exp={experiment}", f"profile={profile}", f"augmentation={arm}"]
            recipes.append(compose("config", overrides).classifier)
    assert all(recipe == expected.classifier for recipe in recipes)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"optimizer": "adam"}, r"classifier.optimizer: expected one of \('sgd', 'adamw'\)"),
        ({"precision": "32"}, r"classifier.precision: expected one of"),
        ({"val_every": 3}, r"multiple of classifier.val_every \(3\)"),
        ({"warmup_steps": 8}, r"classifier.warmup_steps: expected 0 to 7"),
    ],
)
def test_wrong_values_are_refused(changed: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Recipe(**{**GOOD, **changed})


def test_schedule_warms_up_and_ends_near_zero() -> None:
    shares = [schedule(step, 100, 10) for step in range(100)]
    assert shares[0] == pytest.approx(1 / 11)
    assert max(shares) == shares[10] == 1
    assert shares == sorted(shares[:11]) + sorted(shares[11:], reverse=True)
    assert 0 < shares[-1] < 1e-3
