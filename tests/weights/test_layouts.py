"""Files as the real repositories name them."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from sip.backbone.saved import load_network
from sip.core.errors import UserError
from sip.scores.clip import Clip
from sip.weights import hub, source
from sip.weights.layout import Parts, weight_files
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
