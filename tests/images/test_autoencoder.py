"""Another autoencoder in the place of the model's own, against diffusers' pipelines with it."""

import json
from pathlib import Path

import diffusers
import pytest
import torch
from diffusers import AutoencoderTiny

from sip.core.errors import UserError
from sip.device.settings import Runtime
from sip.prompts.base import Span
from sip.weights.loaded import loaded_weights
from tests.images import flow_models, models
from tests.images.stock import assert_equal, call, stock

LEVELS = {
    "encoder_block_out_channels": (16,) * 3,
    "decoder_block_out_channels": (16,) * 3,
    "num_encoder_blocks": (1,) * 3,
    "num_decoder_blocks": (1,) * 3,
}
# Pipeline -> saves a tiny model, channels of its latents.
CASES = {
    "StableDiffusion": (models.save_sd, 4),
    "StableDiffusionXL": (models.save_sdxl, 4),
    "StableDiffusion3": (models.save_sd3, 8),
    "Flux": (lambda folder: flow_models.save_flux(folder, True), 8),
    "ZImage": (flow_models.save_z_image, 8),
}
# numpy 2, about how diffusers makes arrays of tensors.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def save_tiny(folder: Path, channels: int, **changes) -> Path:
    torch.manual_seed(8)
    tiny = AutoencoderTiny(latent_channels=channels, **LEVELS | changes)
    with torch.no_grad():
        tiny.decoder.layers[-1].weight.mul_(20)  # else all images are nearly grey
    tiny.save_pretrained(folder)
    return folder


@pytest.fixture
def rows(make_prompt):
    """Four rows of two originals: the second meets a kept one."""
    return [
        make_prompt(
            index % 2,
            variant=index,
            seed=index,
            guidance_scale=2.5 + index,
            spans=(Span(f"a photo of a {'bold ' * index}nine", 1.0),),
        )
        for index in range(4)
    ]


@pytest.mark.parametrize("name", CASES)
def test_a_tiny_autoencoder_equals_the_stock_pipeline_with_it(
    make_img2img, rows, generate, tmp_path, name
):
    save, channels = CASES[name]
    folder = save(tmp_path / "model")
    tiny = save_tiny(tmp_path / "tiny", channels)
    scheduler = "euler" if channels == 8 else "ddim"
    generator = make_img2img(model=str(folder), vae=str(tiny), scheduler=scheduler, num_steps=4)
    engine = generator.load(Runtime.cpu(vae_slicing=name == "StableDiffusionXL"))
    pipeline = stock(
        getattr(diffusers, f"{name}Img2ImgPipeline"),
        folder,
        vae=AutoencoderTiny.from_pretrained(tiny),
    )

    def expected(row):
        own = {  # Z-Image's scales are one less; XL's "no text" is None, FLUX reads none
            "StableDiffusionXL": {"negative_prompt": None},
            "ZImage": {"guidance_scale": row.guidance_scale - 1},
            "Flux": {"negative_prompt": None},
        }
        return call(pipeline, row, 4, **own.get(name, {}))

    images = {row.image_id: expected(row) for row in rows}
    for batch_size in (3, 1):
        generated = generate(engine, rows, batch_size)
        assert_equal(generated, rows, lambda row: images[row.image_id])
    (kept,) = {value.shape for value in engine.posteriors._kept.values()}
    assert kept == (channels, 8, 8)  # no variance


def test_the_recipe_knows_the_autoencoder(make_img2img, tmp_path):
    tiny = save_tiny(tmp_path / "tiny", 4)
    plain = make_img2img().recipe()
    recipe = make_img2img(vae=str(tiny)).recipe()
    assert recipe.pop("autoencoder")["weights"]["name"] == "tiny" and recipe == plain
    pinned = make_img2img(vae={"model": "madebyollin/taesd", "revision": "main"})
    assert pinned.recipe() == make_img2img(vae="madebyollin/taesd").recipe()
    used = loaded_weights({"images": make_img2img(vae=str(tiny))})
    assert used.keys() == {"images", "images.vae"}


def test_another_full_autoencoder_equals_the_stock_pipeline_with_it(
    make_img2img, model_folder, rows, generate, tmp_path
):
    torch.manual_seed(9)
    models.autoencoder().save_pretrained(tmp_path / "other")
    generated = generate(make_img2img(vae=str(tmp_path / "other")), rows)
    pipeline = stock(
        diffusers.StableDiffusionImg2ImgPipeline,
        model_folder,
        vae=diffusers.AutoencoderKL.from_pretrained(tmp_path / "other"),
    )
    assert_equal(generated, rows, lambda row: call(pipeline, row))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 8}, "with 4 channels and 4 px along a latent .* with 8 and 4; set null, or"),
        (
            {key: value[:2] for key, value in LEVELS.items()},
            "with 4 channels and 4 px along a latent .* with 4 and 2",
        ),
        ({"name": "taesdxl"}, "for latents of the scaling factor 0.7 .*taesdxl for 0.13025"),
        ({"_class_name": "AutoencoderOobleck"}, "of the class AutoencoderTiny or .*, a Autoenc"),
    ],
)
def test_one_that_does_not_fit_is_refused_in_one_line(make_img2img, tmp_path, changes, message):
    changes = {"channels": 4, "name": "tiny"} | changes
    kind = changes.pop("_class_name", None)
    folder = save_tiny(tmp_path / changes.pop("name"), **changes)
    if kind:
        config = json.loads((folder / "config.json").read_text()) | {"_class_name": kind}
        (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=f"^images.vae: must be .*{message}") as caught:
        make_img2img(vae=str(folder)).require()
    assert "\n" not in str(caught.value)


def test_autoencoders_without_a_tiny_one_and_missing_ones_are_named(make_img2img, tmp_path):
    qwen = str(flow_models.save_qwen_image(tmp_path / "qwen"))
    tiny = str(save_tiny(tmp_path / "tiny", 4))
    with pytest.raises(UserError, match="null for a QwenImagePipeline, whose autoencoder is Auto"):
        make_img2img(model=qwen, scheduler="euler", vae=tiny).require()
    with pytest.raises(UserError, match="hf download madebyollin/taesd .*'diffusion_pytorch_model"):
        make_img2img(vae="madebyollin/taesd").require()
    with pytest.raises(UserError, match=r"vae: must be null or a mapping of model, revision, got"):
        make_img2img(vae={"name": "x"})
