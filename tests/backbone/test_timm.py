"""timm backbones: stems, local weights in the hub's layout, fresh heads, clear refusals."""

import shutil
from pathlib import Path

import pytest
import timm
import torch
from hydra.utils import instantiate
from safetensors.torch import load_file, save_file

from sip.backbone.stems import STEMS
from sip.backbone.timm import Timm
from sip.core.errors import UserError
from tests.composing import composed

CONF = Path(__file__).parents[2] / "conf"
TINY = {"img_size": 32, "patch_size": 8}


def make(**changed) -> Timm:
    values = {
        "name": "test_resnet",
        "weights": None,
        "revision": None,
        "stem": None,
        "patch_size": None,
        "drop_path": 0.0,
        "input_size": 32,
        "mean": None,
        "std": None,
    }
    return Timm(**{**values, **changed})


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> tuple[Path, torch.nn.Module]:
    """A small ViT for ten classes in timm's own layout."""
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(1)
    model = timm.create_model("test_vit", num_classes=10, **TINY)
    timm.models.save_for_hf(
        model, folder, model_args={**TINY, "num_classes": 10}, safe_serialization=True
    )
    return folder, model


def test_resnet50_of_the_embedded_profile_sees_an_8x8_map() -> None:
    config = composed("backbone=resnet50")
    model = instantiate(config.backbone, _convert_="all").create(10).eval()
    shapes = {}
    model.layer1.register_forward_hook(lambda m, i, out: shapes.update(map=out.shape[-2:]))
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    assert shapes["map"] == (8, 8)


@pytest.mark.parametrize(("stem", "side"), [("3x3_s1", 32), ("3x3_s2", 16), ("3x3_s2_pool", 8)])
def test_stem_sets_the_size_of_the_first_map(stem: str, side: int) -> None:
    assert sorted(STEMS) == ["3x3_s1", "3x3_s2", "3x3_s2_pool"]
    model = make(name="resnet18", stem=stem).create(4).eval()
    shapes = {}
    model.layer1.register_forward_hook(lambda m, i, out: shapes.update(map=out.shape[-2:]))
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 4)
    assert shapes["map"] == (side, side)


def test_local_weights_are_loaded_and_the_head_is_fresh(stored) -> None:
    folder, model = stored
    backbone = make(name="test_vit", weights=str(folder))
    backbone.require()
    torch.manual_seed(0)
    loaded = backbone.create(10).state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(loaded[name], value) != name.startswith("head."), name
    assert backbone.normalisation[0] == tuple(model.pretrained_cfg["mean"])
    assert backbone.recipe()["source"]["name"] == folder.name


def test_the_same_seed_gives_the_same_network() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(make().create(5).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_own_values_of_the_normalisation_win_over_those_of_the_model() -> None:
    backbone = make(mean=[0.4, 0.5, 0.6])
    assert backbone.normalisation == ((0.4, 0.5, 0.6), timm.get_pretrained_cfg("test_resnet").std)
    assert backbone.recipe()["source"] is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"name": "resnet_50"},
            r"must be a model of timm .*, got 'resnet_50'; near names: .*resnet50",
        ),
        (
            {"stem": "small"},
            r"stem: must be one of 3x3_s1, 3x3_s2, 3x3_s2_pool or null, got 'small'",
        ),
        (
            {"stem": "3x3_s1", "weights": "default"},
            r"stem: must be null if backbone.weights is set, got '3x3_s1'",
        ),
        (
            {"name": "vgg11", "drop_path": 0.1},
            r"backbone.drop_path: must be 0 for vgg11, which has no stochastic depth, got 0.1",
        ),
        (
            {"name": "test_vit", "stem": "3x3_s1"},
            r"backbone.stem: must be null for a VisionTransformer",
        ),
        (
            {"patch_size": 8, "weights": "default"},
            r"patch_size: must be null if backbone.weights is set, got 8",
        ),
        (
            {"patch_size": 8},
            r"backbone.patch_size: must be null for test_resnet, which has no patches",
        ),
        (
            {"name": "test_vit", "input_size": 40},
            r"multiple of the patches' 16 px, got 40; .*32 or 48",
        ),
        (
            {"name": "vit_base_patch16_224.augreg_in21k", "weights": "default"},
            r"timm/vit_base_patch16_224.augreg_in21k",
        ),
    ],
)
def test_refusals_say_what_to_do(changed: dict, message: str, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=message):
        make(**changed).create(3)


def test_patches_of_another_size_fill_small_images() -> None:
    backbone = make(name="test_vit", patch_size=8)
    model = backbone.create(3).eval()
    assert model.patch_embed.num_patches == 16
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 3)


def test_position_embeddings_follow_the_size_of_the_images(stored) -> None:
    model = make(name="test_vit", weights=str(stored[0]), input_size=48).create(3).eval()
    assert model.pos_embed.shape[1] == (48 // 8) ** 2 + model.num_prefix_tokens
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 48, 48)).shape == (1, 3)
    with pytest.raises(UserError, match=r"multiple of the patches' 8 px, got 28; .*=24 or 32"):
        make(name="test_vit", weights=str(stored[0]), input_size=28).create(3)


def damage_head(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["head.weight"] = torch.zeros(12, weights["head.weight"].shape[1])
    save_file(weights, folder / "model.safetensors")


def cut_short(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])


def leave_out(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["patch_embed.proj.weight"]
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize("damage", [damage_head, cut_short, leave_out])
def test_weights_that_do_not_fit_are_refused_in_one_line(stored, tmp_path, damage) -> None:
    folder = tmp_path / "vit"
    shutil.copytree(stored[0], folder)
    damage(folder)
    with pytest.raises(UserError, match=r"backbone.weights: the weights in .*vit are not") as error:
        make(name="test_vit", weights=str(folder)).create(10)
    assert "\n" not in str(error.value)


def test_weights_of_another_model_are_refused(stored) -> None:
    with pytest.raises(UserError, match="backbone.name: must be 'test_vit', which the weights"):
        make(name="test_resnet", weights=str(stored[0])).create(3)
