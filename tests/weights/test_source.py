"""Weights are found without the network, and what is missing is said in one line.

What is downloaded, and from where, is in test_hub.py.
"""

import json
from pathlib import Path

import pytest
from safetensors.torch import save_file

from sip.core.errors import UserError
from sip.weights import source

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NUMBERS = (2).to_bytes(8, "little") + b"{}"  # safetensors without any


def model_folder(folder: Path, content: str = "numbers") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    save_file({}, folder / "model.safetensors", {"content": content})
    return folder


@pytest.fixture
def hub_cache(tmp_path, monkeypatch) -> Path:
    """An empty hub cache, and a hub that fails when asked."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
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
    assert source.resolve("mine") == str(tmp_path / "mine")
    assert source.resolve(str(tmp_path / "mine")) == str(tmp_path / "mine")
    assert source.resolve("sip/miniature") == str(source.PACKAGE_PARENT / "sip" / "miniature")
    assert source.resolve("org/tiny") == "org/tiny"


def test_recipe_of_a_folder_is_its_content(tmp_path):
    here, there = model_folder(tmp_path / "a" / "m"), model_folder(tmp_path / "b" / "m")
    (there / "README.md").write_text("not part of the model")
    (there / ".cache").mkdir()
    (there / ".cache" / "download.json").write_text("not either")
    recipe = source.weights_recipe(str(here), None)
    assert recipe["name"] == "m"
    assert source.weights_recipe(str(there), "any") == recipe
    model_folder(there, "other numbers")
    assert source.weights_recipe(str(there), None)["sha256"] != recipe["sha256"]
    model_folder(there)
    (there / "config.json").rename(there / "model_index.json")
    assert source.weights_recipe(str(there), None)["sha256"] != recipe["sha256"]


def test_recipe_of_a_hub_model_is_its_revision():
    assert source.weights_recipe("org/tiny", None) == {"name": "org/tiny", "revision": "main"}
    assert source.weights_recipe("org/tiny", COMMIT)["revision"] == COMMIT


def test_recipes_do_not_depend_on_which_mirror_is_on_this_disk(hub_cache):
    gone, mirror = "runwayml/stable-diffusion-v1-5", "stable-diffusion-v1-5/stable-diffusion-v1-5"
    expected = {"name": mirror, "revision": "main"}
    assert source.weights_recipe(gone, None) == expected
    assert source.weights_recipe(mirror, None) == expected
    assert source.weights_recipe(mirror, None, "fp16") == {**expected, "variant": "fp16"}


def test_hub_models_are_looked_up_on_disk(hub_cache):
    snapshot = in_cache(hub_cache)
    for revision in (None, "main", COMMIT):
        assert source.weights_folder("org/tiny", revision) == snapshot
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(
        UserError,
        match=r"lacks \*\.safetensors(.|\n)*-> python -m sip.weights convert org/tiny ",
    ):
        source.require("org/tiny", "main")


@pytest.mark.parametrize(
    ("path", "revision", "words"),
    [
        (
            "org/tiny",
            None,
            r"revision main \(not pinned\).* -> hf download org/tiny --revision main",
        ),
        ("org/tiny", "v2", r"revision v2 \(not pinned\).* -> hf download org/tiny --revision v2"),
        (
            "sip/miniature/no",
            None,
            "no model folder is at .*miniature/no; copy one there",
        ),
        ("/no/such/place", None, "no model folder is at /no/such/place; copy one"),
        ("models/sd15", None, "no model folder is at /.*/models/sd15[; ]"),
        ("./mine/sd15", None, "no model folder is at /.*/mine/sd15[; ]"),
        ("../sd15", None, "no model folder is at /.*/sd15[; ]"),
        ("tests/sd15", None, "looked in .*; there is no folder /.*/tests/sd15 either"),
        (__file__, None, "must be a folder, got a file; take its folder: /.*/tests/weights$"),
    ],
)
def test_missing_models_are_named_with_what_gets_them(
    hub_cache, monkeypatch, path, revision, words
):
    monkeypatch.chdir(source.PACKAGE_PARENT)
    with pytest.raises(UserError, match=f"(?s){words}") as caught:
        source.require(path, revision)
    assert ("hf download" in str(caught.value)) == (path in ("org/tiny", "tests/sd15"))
    if path == "org/tiny":
        assert str(hub_cache) in str(caught.value)


def test_incomplete_folders_are_refused(tmp_path):
    folder = model_folder(tmp_path / "m")
    source.require(str(folder), None)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"expected \*\.safetensors"):
        source.require(str(folder), None)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"expected config\.json or model_index\.json"):
        source.require(str(folder), None)


def pipeline_folder(folder: Path) -> Path:
    """Write a diffusers pipeline: a model in shards, one in a file, a scheduler, and a null."""
    names = {"unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
             "scheduler": ["diffusers", "DDIMScheduler"], "safety_checker": [None, None],
             "_class_name": "SomePipeline", "requires_safety_checker": False}  # fmt: skip
    for name in ("unet", "vae", "scheduler"):
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text("{}")
    (folder / "model_index.json").write_text(json.dumps(names))
    (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(NUMBERS)
    shards = [f"diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for shard in shards:
        (folder / "unet" / shard).write_bytes(NUMBERS)
    index = {"weight_map": {"a": shards[0], "b": shards[1]}}
    index_file = folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index_file.write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ("unet/diffusion_pytorch_model-00002-of-00002.safetensors",
         "expected unet/diffusion_pytorch_model-00002-of-00002.safetensors, which .*index.json"),
        ("unet/diffusion_pytorch_model.safetensors.index.json",
         r"expected unet/\*.safetensors.index.json"),
        ("vae/diffusion_pytorch_model.safetensors", r"expected vae/\*.safetensors, found none"),
        ("vae/config.json", "expected vae/config.json, found none"),
        ("scheduler", "expected scheduler/, which model_index.json names, found none"),
    ],
)  # fmt: skip
def test_incomplete_pipelines_are_refused(tmp_path, gone, words):
    folder = pipeline_folder(tmp_path / "sd")
    source.require(str(folder), None)
    with pytest.raises(
        UserError,
        match=r"expected \*.fp16.safetensors \(there: no variants; variant=null .*found none",
    ):
        source.require(str(folder), None, "fp16")
    (folder / "vae" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(NUMBERS)
    source.require(str(folder), None, "fp16")  # as diffusers: the plain unet, which has no other
    if gone == "scheduler":
        (folder / gone / "config.json").unlink()
        (folder / gone).rmdir()
    else:
        (folder / gone).unlink()
    with pytest.raises(UserError, match=words):
        source.require(str(folder), None)
    source.require(str(folder), None, without=[gone.split("/")[0]])


def test_a_single_file_can_be_all_that_is_needed(tmp_path):
    (tmp_path / "lora.safetensors").write_bytes(NUMBERS)
    assert source.weights_folder(str(tmp_path), None, file="lora.safetensors") == tmp_path
    with pytest.raises(UserError, match="expected other.safetensors, found none"):
        source.require(str(tmp_path), None, file="other.safetensors")
    with pytest.raises(UserError, match="'lora.bin': expected a name that ends in .safetensors"):
        source.require(str(tmp_path), None, file="lora.bin")
