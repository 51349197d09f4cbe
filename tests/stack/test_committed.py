"""The committed miniature models: layout, size, classes, and that they do what they are for."""

import json
from pathlib import Path

import pytest
import timm
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from transformers import (
    AutoTokenizer,
    BlipForConditionalGeneration,
    BlipProcessor,
    CLIPModel,
    CLIPProcessor,
)

import sip
from sip.dataset.digits import CLASS_NAMES
from sip.stack.pool import Pool
from sip.stack.scans import scan_pool
from sip.stack.texts import LABEL_PROMPT

FOLDER = Path(sip.__file__).parent / "miniature"


@pytest.fixture(scope="module")
def pool() -> Pool:
    return scan_pool(("train", "val"), 0, 0)


def test_all_weights_are_safetensors_and_at_most_16_mb() -> None:
    files = [file for file in FOLDER.rglob("*") if file.suffix in (".bin", ".pt", ".ckpt", ".pth")]
    assert files == []
    assert sum(file.stat().st_size for file in FOLDER.rglob("*.safetensors")) <= 16e6


def test_models_load_with_the_large_models_classes() -> None:
    pipe = StableDiffusionImg2ImgPipeline.from_pretrained(
        FOLDER / "diffusion", dtype=torch.float32, safety_checker=None
    )
    assert type(pipe.unet).__name__ == "UNet2DConditionModel"
    assert type(pipe.scheduler).__name__ == "DDIMScheduler"
    assert BlipForConditionalGeneration.from_pretrained(FOLDER / "captioner").num_parameters() > 0
    assert isinstance(BlipProcessor.from_pretrained(FOLDER / "captioner"), BlipProcessor)
    assert isinstance(CLIPProcessor.from_pretrained(FOLDER / "scorer"), CLIPProcessor)


def test_scorer_knows_digits_that_it_never_saw(pool: Pool) -> None:
    model = CLIPModel.from_pretrained(FOLDER / "scorer", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(FOLDER / "scorer")
    texts = [LABEL_PROMPT.format(label=name) for name in CLASS_NAMES]
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**tokens, pixel_values=pool.pixels(torch.arange(420))).logits_per_image
    accuracy = (logits.argmax(1) == pool.texts.labels).float().mean().item()
    card = json.loads((FOLDER / "quality.json").read_text())
    assert accuracy == pytest.approx(card["scorer"]["zero-shot accuracy"], abs=0.01)
    assert accuracy > 0.85


def test_clip_vit_is_the_scorers_image_tower(pool: Pool) -> None:
    tower = timm.create_model(f"local-dir:{FOLDER / 'clip_vit'}", pretrained=True).eval().float()
    scorer = CLIPModel.from_pretrained(FOLDER / "scorer", dtype=torch.float32).eval()
    pixels = pool.pixels(torch.arange(8))
    with torch.no_grad():
        expected = scorer.vision_model(pixel_values=pixels).pooler_output
        torch.testing.assert_close(tower(pixels), expected, atol=2e-3, rtol=2e-3)
