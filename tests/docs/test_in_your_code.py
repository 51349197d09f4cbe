"""The examples of the page "In your training code" run, on digits and with small models."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

import sip
from tests.api.conftest import digit
from tests.docs.pages import DOCS, blocks

CODE = [block.text for block in blocks(DOCS / "in-your-code.md") if block.language == "python"]
# What makes the page's code small; what it is about is not touched.
SMALL = {
    'model="sd15", ': 'profile="embedded", overrides=["images.num_steps=2"], progress=False, ',
    'label="tabby cat", ': 'label="zero", profile="embedded", progress=False, ',
    "photos/train/cat": "photos/train/zero",
    "224": "32",
    "batch_size=64": "batch_size=4",
    "num_workers=4": "num_workers=0",
    '"resnet50"': '"test_resnet"',
    "max_epochs=10": 'max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False',
    '"out", num_train_epochs=10': '"out", num_train_epochs=1, report_to="none", use_cpu=True',
    "google/vit-base-patch16-32-in21k": "vit",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `photos/train` and a small ViT of Hugging Face."""
    place = tmp_path_factory.mktemp("code")
    for name, indices in {"zero": (0, 10), "one": (1, 11)}.items():
        (place / "photos" / "train" / name).mkdir(parents=True)
        for number, index in enumerate(indices, 1):
            digit(index).save(place / "photos" / "train" / name / f"{number}.jpg")
    shape: dict[str, Any] = {"image_size": 32, "patch_size": 16, "hidden_size": 16}
    layers = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ViTForImageClassification(ViTConfig(**shape, **layers)).save_pretrained(place / "vit")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(place / "vit")
    return place


@pytest.mark.filterwarnings("ignore")  # of Lightning, of a training of two steps
@pytest.mark.parametrize("number", range(len(CODE)))
def test_an_example(number: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    code = CODE[number]
    for words, smaller in SMALL.items():
        code = code.replace(words, smaller)
    names: dict[str, Any] = {"sip": sip, "__name__": "example"}
    exec(compile(code, f"example {number}", "exec"), names)
    for name in ("train", "dataset_train"):
        if isinstance(data := names.get(name), sip.AugmentedDataset):
            assert len(data) == 4 and data.p == 0.3
    if "images" in names:
        assert names["images"].shape == (4, 3, 32, 32) and names["images"].isfinite().all()
    if "loss" in names:
        assert torch.isfinite(names["loss"])
    if "one" in names:
        assert (folder / "one.png").is_file() and len(names["one"].candidates) > 1


def test_the_page_has_an_example_of_each_library() -> None:
    text = (DOCS / "in-your-code.md").read_text()
    assert re.findall(r"^### (.*)$", text, re.MULTILINE) == [
        "Plain PyTorch", "timm's training script", "Lightning", "Hugging Face Trainer",
    ]  # fmt: skip
    assert len(CODE) == 6
