"""Files as the real repositories name them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BlipForConditionalGeneration

from sip.backbone.saved import load_network
from sip.core.errors import UserError
from sip.images.families.sd import StableDiffusion
from sip.images.folder import PipelineFolder
from sip.images.img2img import Img2Img
from sip.images.lengths import text_readers
from sip.images.loading import load_pipeline
from sip.scores.clip import Clip
from sip.stack.tokenizers import digit_words
from sip.weights import hub, source
from sip.weights.layout import Parts, weight_files
from sip.weights.pretrained import load_transformer
from tests.images.conftest import settings
from tests.weights.test_hub import CLIP, PretendedHub, pretended  # noqa: F401

MINIATURE = source.PACKAGE_PARENT / "sip" / "miniature"


def test_a_clip_repository_of_timm_names_its_weights_for_open_clip(tmp_path: Path) -> None:
    folder = tmp_path / "clip_vit"
    shutil.copytree(MINIATURE / "clip_vit", folder)
    (folder / "model.safetensors").rename(folder / "open_clip_model.safetensors")
    source.require(str(folder), None, kind="timm")
    expected = load_network(MINIATURE / "clip_vit").state_dict()
    found = load_network(source.weights_folder(str(folder), None)).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert "open_clip_model.safetensors" in Parts(kind="timm").patterns[0]
    both = ["open_clip_model.safetensors", "model.safetensors"]
    assert weight_files(both, None) == ["model.safetensors"]


def test_a_pickle_next_to_open_clips_safetensors_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "clip_vit"
    shutil.copytree(MINIATURE / "clip_vit", folder)
    (folder / "model.safetensors").rename(folder / "open_clip_model.safetensors")
    other = {
        name: value + 1 for name, value in load_file(next(folder.glob("*.safetensors"))).items()
    }
    torch.save(other, folder / "pytorch_model.bin")
    source.require(str(folder), None, kind="timm")
    expected = load_network(MINIATURE / "clip_vit").state_dict()
    found = load_network(source.weights_folder(str(folder), None)).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("stated", [{"architectures": ["GitModel"]}, {"architecture": "vit"}])
def test_a_model_of_another_class_costs_no_download(
    pretended: PretendedHub,  # noqa: F811
    stated: dict,
) -> None:
    pretended.repos["org/git"] = CLIP
    pretended.contents["config.json"] = json.dumps(stated)
    with pytest.raises(UserError, match="must be a CLIPModel of transformers, got") as caught:
        Clip("org/git", None, "float32").require()
    assert "hf download" not in str(caught.value)
    taken = pretended.taken("org/git")
    assert not [name for name in taken if name.endswith((".safetensors", ".bin"))]


def test_what_may_move_is_not_pinned() -> None:
    assert hub.pinned("refs/pr/50") == "refs/pr/50 (not pinned)"
    assert hub.pinned("a" * 40) == "a" * 10


def renamed(file: Path, rename: Callable[[str], str | None], **added: torch.Tensor) -> None:
    """Give the tensors of a file other names; None leaves one out."""
    given = load_file(file)
    kept = {new: value for name, value in given.items() if (new := rename(name)) is not None}
    assert kept.keys() != given.keys()
    save_file(kept | added, file, {"format": "pt"})


def old_diffusion(folder: Path) -> Path:
    """Return a copy of the miniature with the files and names of Stable Diffusion 1.5."""
    shutil.copytree(MINIATURE / "diffusion", folder)
    attention = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}

    def old_attention(name: str) -> str:
        for new, old in attention.items():
            name = name.replace(f"mid_block.attentions.0.{new}", f"mid_block.attentions.0.{old}")
        return name

    renamed(folder / "vae" / "diffusion_pytorch_model.safetensors", old_attention)
    renamed(
        folder / "text_encoder" / "model.safetensors",
        lambda name: f"text_model.{name.removeprefix('text_model.')}",
        **{"text_model.embeddings.position_ids": torch.arange(32)[None]},
    )
    without_tokenizer_json(folder / "tokenizer")
    return folder


def without_tokenizer_json(folder: Path) -> None:
    """Write a CLIP tokenizer as old folders have it: `vocab.json` and `merges.txt`."""
    tokens = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(tokens["vocab"]))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in tokens["merges"])]
    (folder / "merges.txt").write_text("\n".join(lines))
    (folder / "tokenizer.json").unlink()


@pytest.fixture
def old_pipeline(tmp_path: Path) -> Path:
    return old_diffusion(tmp_path / "old")


def pipeline_of(folder: Path) -> Any:
    generator = Img2Img(**settings(folder))
    generator.require()
    return load_pipeline(generator)


def test_old_names_of_a_pipeline_are_the_same_model(old_pipeline: Path) -> None:
    old, new = pipeline_of(old_pipeline), pipeline_of(MINIATURE / "diffusion")
    for part in ("vae", "text_encoder", "unet"):
        expected, found = getattr(new, part).state_dict(), getattr(old, part).state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected), part
    for text in (" ".join(digit_words()), "  wide  (thin) strokes' 10.5", "Käse"):
        assert old.tokenizer(text).input_ids == new.tokenizer(text).input_ids
    readers = text_readers(PipelineFolder(old_pipeline), StableDiffusion)
    assert [reader.length for reader in readers] == [32]


def test_a_blip_that_stores_its_tied_weights_twice_is_the_same_model(tmp_path: Path) -> None:
    folder = tmp_path / "blip"
    shutil.copytree(MINIATURE / "captioner", folder)
    weights = load_file(folder / "model.safetensors")
    bert, head = "text_decoder.bert.embeddings", "text_decoder.cls.predictions"
    tied = {
        f"{head}.decoder.weight": weights[f"{bert}.word_embeddings.weight"].clone(),
        f"{head}.decoder.bias": weights[f"{head}.bias"].clone(),
    }
    assert not tied.keys() & weights.keys()  # those of the miniature are stored once
    save_file(weights | tied, folder / "model.safetensors", {"format": "pt"})
    once, twice = (
        load_transformer(BlipForConditionalGeneration, str(place), None, "float32", "cpu")
        for place in (MINIATURE / "captioner", folder)
    )
    expected, found = once.state_dict(), twice.state_dict()
    assert tied.keys() <= expected.keys() == found.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert torch.equal(
        expected[f"{head}.decoder.weight"], expected[f"{bert}.word_embeddings.weight"]
    )
