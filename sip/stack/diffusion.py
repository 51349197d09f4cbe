"""The Stable Diffusion of a stack: text encoder and U-Net, trained together on the latents."""

import math
import random
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import (
    DDIMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from sip.stack.fit import fit
from sip.stack.pool import Pool
from sip.stack.samples import Samples
from sip.stack.sizes import DIGITS, Preset
from sip.stack.tokenizers import clip_tokenizer
from sip.stack.vae import Autoencoder, all_latents
from sip.stack.work import Work

MAX_SNR = 5  # Hang et al., ICCV 2023 (arXiv 2303.09556): losses weighted by min(SNR, 5)
NUM_TIMES = 1000  # timesteps of a schedule
TIMES_MEAN, TIMES_STD = 0.25, 1.2  # of logit-normal times
SAMPLE_STEPS = 20  # of DDIM, for the images while training
SAMPLE_GUIDANCE = 4.0
SAMPLE_NOISE_RATE = 0.5


def scheduler(prediction: str = "epsilon", snr_shift: float | None = None) -> DDIMScheduler:
    """Return the noise schedule.

    Args:
        prediction: diffusers' name.
        snr_shift: Shift of the cosine schedule's log-SNR; None for Stable Diffusion's schedule.
    """
    common: dict[str, Any] = {
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "prediction_type": prediction,
    }
    if snr_shift is None:
        return DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", **common
        )
    betas = cosine_betas(snr_shift)
    return DDIMScheduler(trained_betas=betas, timestep_spacing="trailing", **common)


def cosine_betas(snr_shift: float) -> list[float]:
    """Return the 1000 betas of the cosine schedule with a shifted log-SNR, ending in pure noise.

    SNR(t) = exp(shift) / tan(pi t / 2)^2: Nichol and Dhariwal, ICML 2021 (arXiv 2102.09672), and
    the shift by Hoogeboom et al., ICML 2023 (arXiv 2301.11093), here towards less noise.
    """
    times = (torch.arange(NUM_TIMES).double() + 0.5) / NUM_TIMES
    snr = math.exp(snr_shift) / (math.pi / 2 * times).tan() ** 2
    alphas = snr / (1 + snr)
    before = torch.cat([torch.ones(1).double(), alphas[:-1]])
    betas: list[float] = (1 - alphas / before).tolist()
    return betas


def text_encoder(tokenizer: CLIPTokenizer, preset: Preset = DIGITS) -> CLIPTextModel:
    """Return an untrained CLIP text encoder."""
    tower = preset.text
    model = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=tower.width,
            intermediate_size=4 * tower.width,
            num_hidden_layers=tower.layers,
            num_attention_heads=tower.heads,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            hidden_act="gelu",
        )
    )
    nn.init.normal_(model.get_input_embeddings().weight, std=0.5)  # words differ from the start
    return model


def unet(preset: Preset = DIGITS) -> UNet2DConditionModel:
    """Return an untrained U-Net for the preset's latents."""
    sizes, latents = preset.unet, preset.vae
    num = len(sizes.widths)
    return UNet2DConditionModel(
        sample_size=latents.side,
        in_channels=latents.channels,
        out_channels=latents.channels,
        down_block_types=("CrossAttnDownBlock2D",) * num,
        up_block_types=("CrossAttnUpBlock2D",) * num,
        block_out_channels=sizes.widths,
        layers_per_block=sizes.layers,
        norm_num_groups=sizes.groups,
        attention_head_dim=preset.text.heads,
        cross_attention_dim=preset.text.width,
        resnet_time_scale_shift="scale_shift" if sizes.scale_shift else "default",
    )


def loss_weights(schedule: DDIMScheduler) -> Tensor:
    """Return what the squared error at each timestep counts: (1000,), float32.

    min(SNR, 5) / SNR for predictions of the noise, min(SNR, 5) / (SNR + 1) for those of v: the
    same weight on the image in both.
    """
    alphas = schedule.alphas_cumprod
    snr = alphas / (1 - alphas)
    is_v = schedule.config.prediction_type == "v_prediction"
    return snr.clamp(max=MAX_SNR) / (snr + 1 if is_v else snr)


def uniform_times(num: int) -> Tensor:
    """Return timesteps (num,), int64, each as likely as the others."""
    return torch.randint(NUM_TIMES, (num,))


def logit_normal_times(num: int) -> Tensor:
    """Return timesteps (num,), int64, whose logits are normal: most of the middle.

    With the error of v counted alike at all of them, this is about the training of Karras et al.,
    NeurIPS 2022 (arXiv 2206.00364), on CIFAR-10: log-SNR of mean 1, here with a lesser deviation.
    """
    times = torch.sigmoid(TIMES_MEAN + TIMES_STD * torch.randn(num))
    return (times * NUM_TIMES).long().clamp(max=NUM_TIMES - 1)


def train_diffusion(
    vae: Autoencoder, pool: Pool, preset: Preset, seed: int, work: Work
) -> tuple[StableDiffusionPipeline, dict]:
    """Train text encoder and U-Net on the latents of a trained autoencoder, encoded once."""
    torch.manual_seed(seed)
    tokenizer = clip_tokenizer(pool.texts.vocabulary(), pool.texts.length)
    schedule = scheduler(preset.unet.prediction, preset.unet.snr_shift)
    encoder, denoiser = text_encoder(tokenizer, preset), unet(preset)
    parts = nn.ModuleDict({"text_encoder": encoder, "unet": denoiser}).to(work.device)
    vae = vae.to(work.device)
    mean, std = all_latents(vae, pool, work)
    is_uniform = preset.unet.snr_shift is None
    weights = loss_weights(schedule) if is_uniform else torch.ones(NUM_TIMES)
    weights = weights.to(work.device)
    is_v = preset.unet.prediction == "v_prediction"
    work.compiled(denoiser)

    def loss(rows: Tensor, rng: random.Random) -> Tensor:
        means, deviations = mean[rows.to(work.device)], std[rows.to(work.device)]
        latents = means + deviations * torch.randn_like(deviations)
        latents = latents * vae.config.scaling_factor
        shares = preset.unet.prompts
        texts = [pool.texts.prompt(row, rng, shares) for row in pool.sources(rows)]
        tokens = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
        hidden = encoder(tokens.input_ids.to(work.device)).last_hidden_state
        timesteps = uniform_times(len(rows)) if is_uniform else logit_normal_times(len(rows))
        timesteps = timesteps.to(work.device)
        noise = torch.randn_like(latents)
        noisy = schedule.add_noise(latents, noise, timesteps)
        wanted = schedule.get_velocity(latents, noise, timesteps) if is_v else noise
        predicted = denoiser(noisy, timesteps, hidden).sample
        errors = F.mse_loss(predicted.float(), wanted, reduction="none").mean((1, 2, 3))
        return (errors * weights[timesteps]).mean()

    samples = Samples(pool, work)

    def show(current: Any) -> None:
        pipe = pipeline(vae, tokenizer, current["text_encoder"], current["unet"], schedule)
        generated = generate_samples(pipe, samples)
        samples.save("diffusion", [samples.originals, *generated], samples.prompts)

    report = fit(
        "diffusion", parts, loss, len(pool), training=preset.training["diffusion"], seed=seed,
        work=work, show=show,
    )  # fmt: skip
    return pipeline(vae, tokenizer, encoder, denoiser, schedule), report


def pipeline(
    vae: Autoencoder,
    tokenizer: CLIPTokenizer,
    encoder: CLIPTextModel,
    denoiser: UNet2DConditionModel,
    schedule: DDIMScheduler,
) -> StableDiffusionPipeline:
    """Return diffusers' pipeline of the parts."""
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=denoiser,
        scheduler=DDIMScheduler.from_config(schedule.config),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def generate_samples(txt2img: StableDiffusionPipeline, samples: Samples) -> tuple[Tensor, Tensor]:
    """Generate from the fixed originals, and from the fixed prompts only: two of (B, 3, S, S)."""
    side = samples.originals.shape[-1]
    common: dict[str, Any] = {
        "num_inference_steps": SAMPLE_STEPS,
        "guidance_scale": SAMPLE_GUIDANCE,
        "output_type": "pt",
    }
    img2img = StableDiffusionImg2ImgPipeline(**txt2img.components, requires_safety_checker=False)
    img2img.set_progress_bar_config(disable=True)
    image = (samples.originals + 1) / 2
    from_original = img2img(
        samples.prompts, image=image, strength=SAMPLE_NOISE_RATE, generator=seeds(samples), **common
    ).images
    from_noise = txt2img(
        samples.prompts, height=side, width=side, generator=seeds(samples), **common
    ).images
    first, second = (pixels.float().clamp(0, 1) * 2 - 1 for pixels in (from_original, from_noise))
    return first, second


def seeds(samples: Samples) -> list[torch.Generator]:
    """Return a generator an image, the same ones at every time."""
    return [torch.Generator().manual_seed(number) for number in range(len(samples.prompts))]
