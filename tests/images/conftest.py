"""A tiny Stable Diffusion with random weights, and drawing lists for it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from PIL import Image

from sip.images.img2img import Img2Img
from sip.images.txt2img import Txt2Img
from sip.miniature.diffusion import scheduler, text_encoder, unet
from sip.miniature.tokenizers import clip_tokenizer
from sip.prompts.base import Prompt, Span
from sip.prompts.weighting.compel import CompelWeighting

SIZE = 32
NUM_STEPS = 10


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    tokenizer = clip_tokenizer()
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=SIZE,
        scaling_factor=0.7,
    )
    parts = {"text_encoder": text_encoder(tokenizer), "unet": unet(), "vae": vae}
    with torch.no_grad():
        vae.decoder.conv_out.weight.mul_(8)  # else all pictures are nearly grey
        for name, weight in parts["unet"].named_parameters():
            if "attn2.to_" in name:
                weight.mul_(3)  # else the text hardly matters
    pipeline = StableDiffusionPipeline(
        **parts,
        tokenizer=tokenizer,
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    folder = tmp_path_factory.mktemp("model") / "diffusion"
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three source pictures; the last is neither square nor of the right size."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    paths = []
    for index, (height, width) in enumerate([(8, 8), (8, 8), (12, 9)]):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        picture = Image.fromarray(pixels).resize((width * 4, height * 4), Image.Resampling.BICUBIC)
        paths.append(str(folder / f"{index}.png"))
        picture.save(paths[-1])
    return paths


@pytest.fixture
def make_prompt(pictures):
    def make(index: int, **changes) -> Prompt:
        words = ("three", "seven", "nine")[index % 3]
        values = {
            "sample_id": f"sample-{index}",
            "source": pictures[index % 3],
            "source_sha256": f"sha-{index % 3}",
            "label": index % 3,
            "class_name": words,
            "variant": index // 3,
            "spans": (
                Span("a photo of a ", 1.0),
                Span(words, 1.5),
                Span(", ", 1.0),
                Span("bold lines (wide)", 0.9),
            ),
            "negative_prompt": "",
            "guidance_scale": 3.0,
            "noise_rate": 0.5,
            "seed": 1000 + index,
            "caption": None,
            "similarity": None,
        }
        return Prompt(**(values | changes))

    return make


def settings(model_folder: Path, **changes) -> dict:
    values = {
        "model": str(model_folder),
        "revision": None,
        "dtype": "float32",
        "scheduler": "ddim",
        "num_steps": NUM_STEPS,
        "size": SIZE,
        "weighting": CompelWeighting(),
        "per_sample": 1,
    }
    return values | changes


@pytest.fixture
def make_img2img(model_folder):
    return lambda **changes: Img2Img(**settings(model_folder, **changes))


@pytest.fixture
def make_txt2img(model_folder):
    return lambda **changes: Txt2Img(**settings(model_folder, **changes))


@pytest.fixture
def draw():
    """Draw a list and return the rows by image id."""

    def draw_all(generator, prompts, batch_size: int = 4) -> dict:
        rows: list = []
        generator.draw(prompts, batch_size, rows.extend)
        by_id = {row.image_id: row for row in rows}
        assert len(by_id) == len(rows)
        return by_id

    return draw_all
