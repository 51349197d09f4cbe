"""Stable Diffusion v1.5 in full size, through the true loading code, at 512 px."""

import gc
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline
from PIL import Image

from sip.benchmark.full_size import build_sd15
from sip.device.settings import Runtime
from tests.images.stock import TOLERANCE, call, compel_texts, stock


@pytest.mark.slow
def test_full_size_equals_the_stock_pipeline(make_img2img, make_prompt, generate, tmp_path):
    folder = tmp_path / "sd15"
    build_sd15(folder, "float32")
    levels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    image = Image.fromarray(levels).resize((512, 512), Image.Resampling.BICUBIC)
    image.save(tmp_path / "source.png")
    row = replace(
        make_prompt(0, guidance_scale=5.0, noise_rate=0.2), source=str(tmp_path / "source.png")
    )
    begin = time.perf_counter()
    engine = make_img2img(model=str(folder), size=512).load(Runtime.cpu())
    generated = generate(engine, [row])[row.image_id]
    seconds = time.perf_counter() - begin
    weights = sum(weight.numel() for weight in engine.models.denoiser.parameters())
    assert weights == 859_520_964
    assert generated.unet_evaluations == 4  # 2 steps, each of two halves
    del engine
    gc.collect()  # two models at once take 9 GB

    pipeline = stock(StableDiffusionImg2ImgPipeline, folder, DDIMScheduler)
    expected = call(pipeline, row, size=512, **compel_texts(pipeline, row))
    difference = (generated.pixels - expected).abs().max().item()
    print(f"full size: {seconds:.0f} s with loading, largest difference {difference:.1e}")
    assert difference <= TOLERANCE
    assert expected.std() > 0.05 and torch.isfinite(expected).all()
