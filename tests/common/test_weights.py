"""Weights are found without the network, and what is missing is said in one line."""

import json
from pathlib import Path

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from sip.common import weights
from sip.common.errors import UserError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def model_folder(folder: Path, content: bytes = b"numbers") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(content)
    return folder


@pytest.fixture
def hub_cache(tmp_path, monkeypatch) -> Path:
    """An empty hub cache, and a hub that fails when asked."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("asked the network"))
    return tmp_path / "hub"


def in_cache(hub_cache: Path) -> Path:
    """Put org/tiny, revision main, into the cache as the hub's client does."""
    repo = hub_cache / "models--org--tiny"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(COMMIT)
    return model_folder(repo / "snapshots" / COMMIT)


def test_resolve_finds_folders_from_anywhere(tmp_path, monkeypatch):
    model_folder(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert weights.resolve("mine") == str(tmp_path / "mine")
    assert weights.resolve(str(tmp_path / "mine")) == str(tmp_path / "mine")
    assert weights.resolve("sip/miniature") == str(weights.PACKAGE_PARENT / "sip" / "miniature")
    assert weights.resolve("org/tiny") == "org/tiny"


def test_recipe_of_a_folder_is_its_content(tmp_path):
    here, there = model_folder(tmp_path / "a" / "m"), model_folder(tmp_path / "b" / "m")
    (there / "README.md").write_text("not part of the model")
    (there / ".cache").mkdir()
    (there / ".cache" / "download.json").write_text("not either")
    recipe = weights.weights_recipe(str(here), None)
    assert recipe["name"] == "m"
    assert weights.weights_recipe(str(there), "any") == recipe
    model_folder(there, b"other numbers")
    assert weights.weights_recipe(str(there), None)["sha256"] != recipe["sha256"]
    model_folder(there)
    (there / "config.json").rename(there / "model_index.json")
    assert weights.weights_recipe(str(there), None)["sha256"] != recipe["sha256"]


def test_recipe_of_a_hub_model_is_its_revision():
    assert weights.weights_recipe("org/tiny", None) == {"name": "org/tiny", "revision": "main"}
    assert weights.weights_recipe("org/tiny", COMMIT)["revision"] == COMMIT


def test_hub_models_are_looked_up_on_disk(hub_cache):
    snapshot = in_cache(hub_cache)
    for revision in (None, "main", COMMIT):
        assert weights.weights_folder("org/tiny", revision) == snapshot
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"expected \*\.safetensors, found none; get it with: hf"):
        weights.require("org/tiny", "main")


@pytest.mark.parametrize(
    ("path", "revision", "words"),
    [
        ("org/tiny", None, "revision 'main' .* hf download org/tiny --revision main"),
        ("org/tiny", "v2", "revision 'v2' .* hf download org/tiny --revision v2"),
        (
            "sip/miniature/no",
            None,
            "expected a folder in the hub's layout at .*miniature/no, found",
        ),
        ("/no/such/place", None, "layout at /no/such/place, found none"),
    ],
)
def test_missing_models_are_named_in_one_line(hub_cache, path, revision, words):
    with pytest.raises(UserError, match=words) as caught:
        weights.require(path, revision)
    assert "\n" not in str(caught.value)
    if path == "org/tiny":
        assert str(hub_cache) in str(caught.value)


def test_incomplete_folders_are_refused(tmp_path):
    folder = model_folder(tmp_path / "m")
    weights.require(str(folder), None)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"expected \*\.safetensors"):
        weights.require(str(folder), None)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"expected config\.json or model_index\.json"):
        weights.require(str(folder), None)


def test_loading_converts_and_never_fills_with_random_numbers(tmp_path, capfd):
    size = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1}
    text = {**size, "num_hidden_layers": 1, "vocab_size": 9}
    config = CLIPConfig(text_config=text, vision_config={**size, "num_hidden_layers": 1})
    model = CLIPModel(config).half()
    model.save_pretrained(tmp_path)
    loaded = weights.load_transformer(CLIPModel, str(tmp_path), None, "float32", "cpu")
    assert loaded.dtype == torch.float32 and not loaded.training
    assert torch.equal(loaded.visual_projection.weight, model.visual_projection.weight.float())
    assert "Loading" not in capfd.readouterr().err

    changed = json.loads((tmp_path / "config.json").read_text())
    changed["text_config"]["num_hidden_layers"] = 2
    (tmp_path / "config.json").write_text(json.dumps(changed))
    with pytest.raises(UserError, match="expected the weights of a CLIPModel, 16 are missing"):
        weights.load_transformer(CLIPModel, str(tmp_path), None, "float32", "cpu")
