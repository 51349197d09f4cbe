"""Weights of a Python package: converted once, checked, and those of ImageNet."""

from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from sip.backbone.timm import Timm
from sip.core.errors import DamagedError, UserError
from sip.core.extras import install_extras
from sip.weights import packages
from sip.weights.missing import MissingWeightsError
from sip.weights.packages import PACKAGES, package_folder, package_recipe, require_package
from sip.weights.pickles import read_pickle
from sip.weights.source import require, weights_recipe

NAME = "tf_efficientnet_lite0"
MODULE = PACKAGES[NAME].module


def lite0(**changed: object) -> Timm:
    values = {"name": NAME, "weights": "package", "revision": None, "stem": None}
    values |= {"patch_size": None, "drop_path": 0.0, "input_size": 64, "mean": None, "std": None}
    return Timm(**(values | changed))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HOME", str(cache))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache / "other"))


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(MissingWeightsError) as caught:
        lite0().require()
    text = str(caught.value)
    assert "its package is not installed" in text and install_extras("natural") in text
    assert lite0().recipe()["source"] == package_recipe(NAME)  # known without it
    assert lite0().normalisation == ((0.5,) * 3, (0.5,) * 3)


def test_other_models_have_no_package() -> None:
    message = "weights: must be null, default or a folder for resnet18, got 'package'; packages"
    with pytest.raises(UserError, match=message):
        lite0(name="resnet18")


def test_another_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / PACKAGES[NAME].file
    file.parent.mkdir()
    file.write_bytes(b"others")
    spec = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
    monkeypatch.setattr(packages, "find_spec", lambda name: spec)
    with pytest.raises(DamagedError, match="damaged or of another version; install efficientnet"):
        require_package(NAME)


def test_it_is_converted_once_and_loads(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    pytest.importorskip(MODULE)
    file = packages._installed(NAME)
    lite0().require()
    network = lite0(drop_path=0.1).create(7).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 7)
    kept = list(network.state_dict().values())[:-2]  # all but the fresh head
    assert all(torch.equal(*pair) for pair in zip(kept, read_pickle(file).values(), strict=False))
    monkeypatch.setattr(packages, "find_spec", lambda name: None)  # it is not needed again
    folder = package_folder(NAME)
    require(str(folder), None, kind="timm")
    assert folder.parent == cache / "sip" and len(weights_recipe(str(folder), None)["sha256"]) == 64
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + b"x")
    with pytest.raises(DamagedError, match="delete the folder"):
        package_folder(NAME)
    weights.write_bytes(content)


def test_it_knows_a_flower_and_a_palace() -> None:
    pytest.importorskip(MODULE)
    import timm
    from PIL import Image
    from sklearn.datasets import load_sample_images

    network = timm.create_model(f"local-dir:{package_folder(NAME)}", pretrained=True).eval()
    palace, flower = (Image.fromarray(image) for image in load_sample_images().images)
    transform = timm.data.create_transform(
        **timm.data.resolve_data_config(network.pretrained_cfg), is_training=False
    )
    with torch.inference_mode():
        logits = network(torch.stack([transform(image) for image in (palace, flower)]))
    assert logits.argmax(1).tolist() == [698, 985]  # palace, daisy
