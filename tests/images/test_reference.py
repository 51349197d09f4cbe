"""The engine against diffusers' own pipelines and compel, called for one image at a time."""

from dataclasses import replace

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    UniPCMultistepScheduler,
)
from PIL import Image

from sip.core.errors import UserError
from tests.images import models
from tests.images.stock import TOLERANCE, assert_equal, call, compel_texts, stock

# numpy 2, about how diffusers makes arrays of tensors.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SCALES = [0.5, 1.1, 7.0, 1.0, 2.35]
CLASSES = {
    "ddim": DDIMScheduler,
    "euler": EulerDiscreteScheduler,
    "dpmpp_2m": DPMSolverMultistepScheduler,
    "unipc": UniPCMultistepScheduler,
    "lcm": LCMScheduler,
}


@pytest.fixture
def prompts(make_prompt):
    """Unlike rows: each image, noise rate and guidance scale meets several of the others."""
    rates = [0.3, 0.5, 0.7]
    return [
        make_prompt(
            index,
            guidance_scale=SCALES[index % len(SCALES)],
            noise_rate=rates[index % len(rates)],
            negative_prompt="" if index % 5 else "thin strokes",
        )
        for index in range(6)
    ]


@pytest.fixture(scope="module")
def v_folder(tmp_path_factory):
    return models.save_sd(tmp_path_factory.mktemp("v") / "model", noise=models.v_prediction())


@pytest.mark.parametrize("name", CLASSES)
def test_img2img_equals_the_stock_pipeline(make_img2img, model_folder, prompts, generate, name):
    generated = generate(make_img2img(scheduler=name), prompts, batch_size=8)
    pipeline = stock(StableDiffusionImg2ImgPipeline, model_folder, CLASSES[name])
    assert_equal(generated, prompts, lambda row: call(pipeline, row, **compel_texts(pipeline, row)))


@pytest.mark.parametrize("name", CLASSES)
def test_txt2img_equals_the_stock_pipeline(make_txt2img, model_folder, prompts, generate, name):
    prompts = prompts[:2]
    generated = generate(make_txt2img(scheduler=name), prompts)
    pipeline = stock(StableDiffusionPipeline, model_folder, CLASSES[name])
    assert_equal(generated, prompts, lambda row: call(pipeline, row, **compel_texts(pipeline, row)))


@pytest.mark.parametrize("name", CLASSES)
def test_v_prediction_equals_the_stock_pipeline(make_img2img, v_folder, prompts, generate, name):
    prompts = prompts[:2]
    generated = generate(make_img2img(model=str(v_folder), scheduler=name), prompts)
    pipeline = stock(StableDiffusionImg2ImgPipeline, v_folder, CLASSES[name])
    assert_equal(generated, prompts, lambda row: call(pipeline, row, **compel_texts(pipeline, row)))


@pytest.mark.parametrize("spacing", ["trailing", "linspace"])
@pytest.mark.parametrize("name", ["ddim", "euler", "dpmpp_2m", "unipc"])
def test_other_spacings_equal_the_stock_pipeline(
    make_txt2img, prompts, generate, tmp_path, name, spacing
):
    noise = CLASSES[name].from_config(models.scheduler().config, timestep_spacing=spacing)
    folder = models.save_sd(tmp_path / "model", noise=noise)
    generated = generate(make_txt2img(model=str(folder), scheduler=name, num_steps=4), prompts[:2])
    pipeline = stock(StableDiffusionPipeline, folder)
    assert_equal(
        generated,
        prompts[:2],
        lambda row: call(pipeline, row, num_steps=4, **compel_texts(pipeline, row)),
    )


@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m", "unipc"])
def test_50_steps_and_a_image_of_any_shape_equal_the_stock_pipeline(
    make_img2img, model_folder, make_prompt, generate, name
):
    row = make_prompt(0, noise_rate=0.3, guidance_scale=6.9)
    generated = generate(make_img2img(num_steps=50, scheduler=name), [row])
    pipeline = stock(StableDiffusionImg2ImgPipeline, model_folder, CLASSES[name])
    expected = pipeline(
        **compel_texts(pipeline, row),
        image=Image.open(row.source),
        strength=row.noise_rate,
        guidance_scale=row.guidance_scale,
        num_inference_steps=50,
        generator=torch.Generator("cpu").manual_seed(row.seed),
        output_type="pt",
    ).images[0]
    torch.testing.assert_close(generated[row.image_id].pixels, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("low_high", [(0.2, 0.5), (0.0, 0.31), (0.6, 0.9)])
def test_a_guidance_interval_equals_the_stock_pipeline_that_switches(
    make_img2img, model_folder, prompts, generate, low_high
):
    generated = generate(make_img2img(guidance_interval=low_high), prompts, batch_size=8)

    class Switching(StableDiffusionImg2ImgPipeline):
        """Guides only inside the interval: `scale_model_input` is the first to see a timestep."""

        @property
        def guidance_scale(self):
            part = self.scheduler.timesteps[self.done] / 1000
            return self._guidance_scale if low_high[0] <= part <= low_high[1] else 1.0

    pipeline = stock(Switching, model_folder, DDIMScheduler)

    def count(pipeline, step, timestep, kwargs):
        pipeline.done = min(pipeline.done + 1, len(pipeline.scheduler.timesteps) - 1)
        return kwargs

    def expected(row):
        pipeline.done = 10 - int(10 * row.noise_rate)
        texts = compel_texts(pipeline, row)
        return call(pipeline, row, callback_on_step_end=count, **texts)

    assert_equal(generated, prompts, expected)


def test_a_distilled_unet_reads_each_rows_guidance(make_img2img, prompts, generate, tmp_path):
    torch.manual_seed(3)
    folder = models.save_sd(tmp_path / "model", denoiser=models.distilled_unet())
    generator = make_img2img(model=str(folder), scheduler="lcm", num_steps=4)
    generated = generate(generator, prompts, batch_size=8)
    pipeline = stock(StableDiffusionImg2ImgPipeline, folder, LCMScheduler)
    assert_equal(
        generated, prompts, lambda row: call(pipeline, row, 4, **compel_texts(pipeline, row))
    )
    for row in prompts:  # one evaluation a step, whatever the scale
        assert generated[row.image_id].unet_evaluations == int(4 * row.noise_rate)
    changed = generate(generator, [replace(prompts[1], guidance_scale=6.0)])
    assert (changed.popitem()[1].pixels - generated[prompts[1].image_id].pixels).abs().max() > 1e-3
    interval = make_img2img(model=str(folder), guidance_interval=[0.2, 0.8])
    with pytest.raises(UserError, match=r"guidance_interval: must be \[0, 1\] for a model that r"):
        interval.require()


def test_text_and_guidance_reach_the_image(make_img2img, make_prompt, generate):
    base = make_prompt(0, guidance_scale=1.0)
    other_text = make_prompt(0, guidance_scale=1.0, spans=make_prompt(1).spans)
    guided = make_prompt(0, guidance_scale=7.0)
    generated = generate(make_img2img(), [base, other_text, guided])
    for changed in (other_text, guided):
        distance = generated[base.image_id].pixels - generated[changed.image_id].pixels
        assert distance.abs().max() > 0.01
