"""The engine against diffusers' own pipelines and compel, called for one picture at a time."""

import pytest
import torch
from compel import Compel
from compel.prompt_parser import Conjunction, FlattenedPrompt
from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from PIL import Image

from sip.common.images import read_rgb

SCALES = [0.5, 1.1, 7.0, 1.0, 2.35]
TOLERANCE = 1e-4


def stock(pipeline_class, folder):
    pipeline = pipeline_class.from_pretrained(
        folder, dtype=torch.float32, safety_checker=None, requires_safety_checker=False
    )
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def texts(pipeline, prompt):
    """Embed with compel itself, without its parser."""
    compel = Compel(pipeline.tokenizer, pipeline.text_encoder)
    parts = [(span.text, span.weight) for span in prompt.spans]
    with torch.no_grad():
        positive, _ = compel.build_conditioning_tensor_for_conjunction(
            Conjunction([FlattenedPrompt(parts)])
        )
        negative = pipeline.encode_prompt(prompt.negative_prompt, "cpu", 1, False)[0]
    return {"prompt_embeds": positive, "negative_prompt_embeds": negative}


def call(pipeline, prompt, **kwargs):
    return pipeline(
        **texts(pipeline, prompt),
        guidance_scale=prompt.guidance_scale,
        num_inference_steps=10,
        generator=torch.Generator("cpu").manual_seed(prompt.seed),
        output_type="pt",
        **kwargs,
    ).images[0]


@pytest.fixture
def prompts(make_prompt):
    """Unlike rows: each picture, noise rate and guidance scale meets several of the others."""
    rates = [0.3, 0.5, 0.7]
    return [
        make_prompt(
            index,
            guidance_scale=SCALES[index % len(SCALES)],
            noise_rate=rates[index % len(rates)],
            negative_prompt="" if index % 5 else "thin strokes",
        )
        for index in range(8)
    ]


def test_img2img_equals_the_stock_pipeline(make_img2img, model_folder, prompts, draw):
    drawn = draw(make_img2img(), prompts, batch_size=8)
    pipeline = stock(StableDiffusionImg2ImgPipeline, model_folder)
    expected = {
        row.image_id: call(pipeline, row, image=read_rgb(row.source, 32), strength=row.noise_rate)
        for row in prompts
    }
    assert drawn.keys() == expected.keys()
    for image_id, pixels in expected.items():
        assert drawn[image_id].pixels.dtype == torch.float32
        torch.testing.assert_close(drawn[image_id].pixels, pixels, atol=TOLERANCE, rtol=0)
    spread = torch.stack(list(expected.values()))
    assert spread.std() > 0.1 and spread.std(0).mean() > 0.05  # the comparison is not of greys


def test_img2img_equals_the_stock_pipeline_with_50_steps(
    make_img2img, model_folder, make_prompt, draw
):
    prompts = [make_prompt(0, noise_rate=0.3, guidance_scale=6.9)]
    drawn = draw(make_img2img(num_steps=50), prompts)
    pipeline = stock(StableDiffusionImg2ImgPipeline, model_folder)
    for row in prompts:
        expected = pipeline(
            **texts(pipeline, row),
            image=Image.open(row.source),
            strength=row.noise_rate,
            guidance_scale=row.guidance_scale,
            num_inference_steps=50,
            generator=torch.Generator("cpu").manual_seed(row.seed),
            output_type="pt",
        ).images[0]
        torch.testing.assert_close(drawn[row.image_id].pixels, expected, atol=TOLERANCE, rtol=0)


def test_txt2img_equals_the_stock_pipeline(make_txt2img, model_folder, prompts, draw):
    prompts = prompts[:5]
    drawn = draw(make_txt2img(), prompts)
    pipeline = stock(StableDiffusionPipeline, model_folder)
    for row in prompts:
        expected = call(pipeline, row, height=32, width=32)
        torch.testing.assert_close(drawn[row.image_id].pixels, expected, atol=TOLERANCE, rtol=0)


def test_text_and_guidance_reach_the_picture(make_img2img, make_prompt, draw):
    base = make_prompt(0, guidance_scale=1.0)
    other_text = make_prompt(0, guidance_scale=1.0, spans=make_prompt(1).spans)
    guided = make_prompt(0, guidance_scale=7.0)
    drawn = draw(make_img2img(), [base, other_text, guided])
    for changed in (other_text, guided):
        distance = drawn[base.image_id].pixels - drawn[changed.image_id].pixels
        assert distance.abs().max() > 0.01
