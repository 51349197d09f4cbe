"""Model folders that bring code, pickles or damaged weights are refused with one sentence."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sip.core.errors import UserError
from sip.weights import source
from sip.weights.layout import MAX_JSON
from sip.weights.safety import code_named, plain_load_errors

MINIATURE = source.PACKAGE_PARENT / "sip" / "miniature"
CODE = "import os\nos.environ['SIP_CODE_RAN'] = '1'\nclass Own: pass\n"
OWN = {"AutoModel": "evil.Own", "AutoProcessor": "evil.Own", "AutoTokenizer": "evil.Own"}


def model_folder(folder: Path, config: dict[str, Any] | None = None) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config or {"model_type": "clip"}))
    save_file({"weight": torch.zeros(2)}, folder / "model.safetensors")
    (folder / "evil.py").write_text(CODE)
    return folder


def pipeline_folder(folder: Path, **index: Any) -> Path:
    whole = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
    }
    whole |= index
    model_folder(folder / "unet")
    save_file({"weight": torch.zeros(2)}, folder / "unet" / "diffusion_pytorch_model.safetensors")
    (folder / "model_index.json").write_text(json.dumps(whole))
    (folder / "evil.py").write_text(CODE)
    (folder / "unet" / "evil.py").write_text(CODE)
    return folder


def refused(folder: Path, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        source.require(str(folder), None)
    assert "\n" not in str(caught.value) and "SIP_CODE_RAN" not in os.environ


def test_a_plain_model_is_not(tmp_path: Path) -> None:
    source.require(str(model_folder(tmp_path / "plain")), None)  # a stray .py is not asked for
    source.require(str(pipeline_folder(tmp_path / "pipeline")), None)
    for name in ("captioner", "scorer", "diffusion", "vit", "clip_vit"):
        assert code_named(MINIATURE / name) is None
    own = {"vae": ["sip.images.patches", "PatchAutoencoder"]}
    assert code_named(pipeline_folder(tmp_path / "own", **own)) is None


@pytest.mark.parametrize(
    "place",
    ["config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json"],
)
def test_code_of_a_transformers_model_is_refused(tmp_path: Path, place: str) -> None:
    folder = model_folder(tmp_path / "m")
    (folder / place).write_text(json.dumps({"auto_map": OWN}))
    refused(folder, rf"brings code of its own \(auto_map in {place}\), which is never run")


def test_code_of_a_part_is_refused(tmp_path: Path) -> None:
    folder = pipeline_folder(tmp_path / "m")
    (folder / "unet" / "config.json").write_text(json.dumps({"text_config": [{"auto_map": OWN}]}))
    refused(folder, "auto_map in unet/config.json")


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ({"_class_name": ["evil", "Own"]}, "_class_name .*'evil', 'Own'"),
        ({"unet": ["evil", "Own"]}, "unet of 'evil'"),
        ({"unet": ["os", "system"]}, "unet of 'os'"),
        ({"unet": ["sip.stack", "build"]}, "unet of 'sip.stack'"),
        ({"unet": ["sip.images.patches", "ModelMixin"]}, "unet of 'sip.images.patches'"),
    ],
)
def test_code_of_a_pipeline_is_refused(tmp_path: Path, index: dict, words: str) -> None:
    assert words.split(" ")[0] in (code_named(pipeline_folder(tmp_path / "m", **index)) or "")
    folder = pipeline_folder(tmp_path / "n", **index)
    refused(folder, words)


@pytest.mark.parametrize("name", ["other.bin", "model.pt", "weights.ckpt", "w.pkl"])
def test_a_pickle_of_another_name_is_named_and_not_opened(tmp_path: Path, name: str) -> None:
    folder = model_folder(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Bomb()))
    refused(folder, rf"\*\.safetensors \({name}, a pickle of another name, is not read\)")
    with pytest.raises(UserError, match="a name that ends in .safetensors"):
        source.require(str(folder), None, file=name)


class Bomb:
    """Runs code where it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, ("import os; os.environ['SIP_CODE_RAN'] = '1'",)


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[:-3],
        lambda whole: whole[:5],
        lambda whole: b"",
        lambda whole: b'{"error": "not found"}',
        lambda whole: b"\xff" * 8 + whole[8:],  # the header would be longer than any memory
        lambda whole: pickle.dumps(Bomb()) + whole,
    ],
)
def test_damaged_weights_are_found_from_their_header(tmp_path: Path, damage: Any) -> None:
    folder = model_folder(tmp_path / "m")
    file = folder / "model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    refused(folder, "model.safetensors: must be (a )?whole.*; download or copy it again$")
    with pytest.raises(UserError, match="must be (a )?whole"):
        source.require(str(folder), None, file="model.safetensors")


POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 1234567\n"
PAGE = "<!DOCTYPE html>\n<html><title>Log in</title>"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (POINTER, "got a Git LFS pointer to 1,234,567 bytes, .* lfs pull --include {}$"),
        (PAGE, "got an HTML page, .*; download or copy it again$"),
    ],
)
@pytest.mark.parametrize(
    "name", ["model.safetensors", "pytorch_model.bin", "config.json", "tokenizer.json"]
)
def test_a_pointer_or_a_page_is_named(tmp_path: Path, name: str, text: str, words: str) -> None:
    folder = model_folder(tmp_path / "m")
    if name.endswith(".bin"):
        (folder / "model.safetensors").unlink()
    (folder / name).write_text(text)
    refused(folder, f"{name}: must be the file itself, {words.format(name)}")


def test_a_blob_of_the_hub_is_deleted_to_be_downloaded_again(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m")
    blob = tmp_path / "blobs" / "x"
    blob.parent.mkdir()
    (folder / "model.safetensors").rename(blob)
    blob.write_bytes(blob.read_bytes()[:-3])
    (folder / "model.safetensors").symlink_to(blob)
    refused(folder, f"; delete {blob}, and start again: it is downloaded again$")


def test_json_of_a_foreign_folder_has_a_limit(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m")
    os.truncate(folder / "config.json", MAX_JSON + 1)  # a hole: it takes no disk
    refused(folder, "must be a JSON object, got 268,435,457 bytes is more than 268,435,456 bytes")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("config.json", "{", "config.json: must be a JSON object"),
        ("config.json", "[" * 100_000, "config.json: must be a JSON object"),
        ("config.json", "[]", "config.json: must be a JSON object, got"),
        ("model.safetensors.index.json", "{}", "expected a weight_map in model.safetensors.index"),
        (
            "model.safetensors.index.json",
            '{"weight_map": {"a": "../../other.safetensors"}}',
            "expected ../../other.safetensors, which model.safetensors.index.json names",
        ),
    ],
)
def test_broken_small_files_are_named(tmp_path: Path, name: str, text: str, words: str) -> None:
    folder = model_folder(tmp_path / "m")
    if "index" in name:
        (folder / "model.safetensors").unlink()
    (folder / name).write_text(text)
    refused(folder, words)


def test_what_libraries_raise_becomes_one_line() -> None:
    said = "^model x cannot be loaded .Exception: no lines.; copy a complete model there"
    with pytest.raises(UserError, match=said), plain_load_errors("model x"):
        raise Exception("no\nlines")  # as the tokenizers do
    with pytest.raises(MemoryError), plain_load_errors("model x"):
        raise MemoryError
    with pytest.raises(torch.OutOfMemoryError), plain_load_errors("model x"):
        raise torch.OutOfMemoryError("the batch is halved instead")


def test_a_broken_tokenizer_is_one_line(tmp_path: Path) -> None:
    from sip.scores.clip import Clip

    folder = tmp_path / "scorer"
    folder.mkdir()
    for file in (MINIATURE / "scorer").iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").write_text('{"model": {}}')
    scorer = Clip(str(folder), None, "float32")
    scorer.require()
    with pytest.raises(UserError, match="scorer cannot be loaded .*copy a complete model"):
        scorer.load("cpu")


def test_a_pickle_as_a_checkpoint_is_not_opened(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from sip.classifier.base import UNFINISHED
    from sip.classifier.resume import Checkpoints

    (tmp_path / UNFINISHED).write_bytes(pickle.dumps(Bomb()))
    assert Checkpoints(tmp_path, "rows").steps() == 0
    torch.save({"global_step": Bomb()}, tmp_path / UNFINISHED)
    assert Checkpoints(tmp_path, "rows").steps() == 0
    assert "SIP_CODE_RAN" not in os.environ
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 2 and all(
        "cannot be read" in line and "from step 0" in line for line in said
    )
