"""The PCA of patches as autoencoder: exact, the best linear one, and served like any other."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
)

from sip.images.patches import PatchAutoencoder
from sip.stack.diffusion import cosine_betas, logit_normal_times, pipeline, scheduler
from sip.stack.diffusion import text_encoder as new_text_encoder
from sip.stack.diffusion import unet as new_unet
from sip.stack.measures import pca_psnr, psnr
from sip.stack.pool import Pool
from sip.stack.sizes import PATCH, Patches
from sip.stack.texts import Own
from sip.stack.tokenizers import clip_tokenizer
from sip.stack.vae import fit_patches, load_vae, reconstructed
from tests.images.models import loud_text
from tests.images.stock import assert_equal, call, compel_texts, stock
from tests.stack.made_up import plain_work

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def pool() -> Pool:
    coarse = torch.rand(12, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(coarse, 32, mode="bicubic").clamp(0, 1)
    texts = Own([["a thing"]] * 12, None, ())
    return Pool((smooth * 255).round().byte(), texts, mirrored=False, shift=0)


@pytest.fixture(scope="module")
def model(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> PatchAutoencoder:
    return fit_patches(pool, PATCH.vae, plain_work(tmp_path_factory.mktemp("fit")))[0]


@pytest.fixture(scope="module")
def folder(model: PatchAutoencoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable Diffusion with this autoencoder and the shifted schedule, as a stack saves it."""
    torch.manual_seed(0)
    preset = replace(PATCH, unet=replace(PATCH.unet, widths=(32, 48)))
    tokenizer, noise = clip_tokenizer(), scheduler("v_prediction", preset.unet.snr_shift)
    encoder, denoiser = new_text_encoder(tokenizer, preset), loud_text(new_unet(preset))
    place = tmp_path_factory.mktemp("patches") / "model"
    pipeline(model, tokenizer, encoder, denoiser, noise).save_pretrained(place)
    return place


def test_all_components_lose_nothing_and_16_what_pca_loses(
    pool: Pool, model: PatchAutoencoder, tmp_path: Path
) -> None:
    pixels = pool.pixels(torch.arange(len(pool)))
    whole, report = fit_patches(pool, Patches(channels=48, side=8), plain_work(tmp_path))
    torch.testing.assert_close(reconstructed(whole, pixels), pixels, atol=1e-5, rtol=0)
    assert report["steps"] == 0 and report["loss"] == pytest.approx(0, abs=1e-9)
    ours = psnr(reconstructed(model, pixels), pixels).mean().item()
    assert ours == pytest.approx(pca_psnr(pixels, 4, 16), abs=0.01)
    posterior = model.encode(pixels).latent_dist
    latents = posterior.mean * model.config.scaling_factor
    assert latents.shape == (12, 16, 8, 8) and latents.std().item() == pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(posterior.sample(), posterior.mean, atol=1e-5, rtol=0)


def test_noise_in_the_latents_is_as_much_noise_in_the_pixels(model: PatchAutoencoder) -> None:
    noise = torch.randn(4, 16, 8, 8, generator=torch.Generator().manual_seed(1))
    moved = model.decode(noise).sample - model.decode(torch.zeros_like(noise)).sample
    assert moved.square().sum().item() == pytest.approx(noise.square().sum().item(), rel=1e-4)


@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m"])
def test_the_engine_equals_the_stock_pipelines(
    folder, make_img2img, make_txt2img, make_prompt, generate, name
):
    prompts = [make_prompt(0, noise_rate=0.5), make_prompt(1, noise_rate=0.9, guidance_scale=3.0)]
    classes = {"ddim": DDIMScheduler, "dpmpp_2m": DPMSolverMultistepScheduler}
    for make, kind in (
        (make_img2img, StableDiffusionImg2ImgPipeline),
        (make_txt2img, StableDiffusionPipeline),
    ):
        rows = generate(make(model=str(folder), scheduler=name), prompts, batch_size=8)
        stock_pipeline = stock(kind, folder, classes[name])
        assert_equal(
            rows,
            prompts,
            lambda row, pipe=stock_pipeline: call(pipe, row, **compel_texts(pipe, row)),
        )


def test_it_is_loaded_as_it_was_saved(folder: Path, model: PatchAutoencoder) -> None:
    loaded = load_vae(folder / "vae")
    assert isinstance(loaded, PatchAutoencoder)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_the_schedule_is_shifted_and_ends_in_noise() -> None:
    alphas = (1 - torch.tensor(cosine_betas(1.4)).double()).cumprod(0)
    log_snr = (alphas / (1 - alphas)).log()
    assert log_snr[499:501].mean().item() == pytest.approx(1.4, abs=1e-3)
    assert log_snr[-1] < -11 and log_snr[0] > 11 and (log_snr.diff() < 0).all()
    torch.manual_seed(0)
    times = logit_normal_times(20_000)
    assert times.min() >= 0 and times.max() <= 999
    assert log_snr[times].mean().item() == pytest.approx(1.0, abs=0.1)
