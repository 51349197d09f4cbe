"""The miniature Stable Diffusion: text encoder and U-Net, trained together on the latents."""

import random
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from sip.miniature.fit import fit
from sip.miniature.pool import Pool, prompt
from sip.miniature.tokenizers import CLIP_LENGTH
from sip.miniature.vae import encode

WIDTH = 96  # of the text encoder and so of the cross-attention


def scheduler() -> DDIMScheduler:
    """Return Stable Diffusion v1.5's noise schedule."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="epsilon",
    )


def text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Return an untrained CLIP text encoder of 3 layers."""
    model = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=CLIP_LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            hidden_act="gelu",
        )
    )
    nn.init.normal_(model.get_input_embeddings().weight, std=0.5)  # words differ from the start
    return model


def unet() -> UNet2DConditionModel:
    """Return an untrained U-Net for 8x8x4 latents, 3.2 M parameters."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(56, 112),
        layers_per_block=1,
        norm_num_groups=14,
        attention_head_dim=4,
        cross_attention_dim=WIDTH,
    )


def train_diffusion(
    vae: AutoencoderKL,
    tokenizer: CLIPTokenizer,
    pool: Pool,
    steps: int,
    seed: int,
    checkpoint: Path,
) -> tuple[StableDiffusionPipeline, dict]:
    """Train text encoder and U-Net on the noise-prediction loss, weighted by min(SNR, 5) / SNR."""
    torch.manual_seed(seed)
    parts = nn.ModuleDict({"text_encoder": text_encoder(tokenizer), "unet": unet()})
    noise_schedule = scheduler()
    mean, std = encode(vae, pool, torch.arange(len(pool.labels)))
    labels = pool.labels.tolist()
    alphas = noise_schedule.alphas_cumprod
    snr = alphas / (1 - alphas)
    weights = snr.clamp(max=5) / snr

    def loss(rows: Tensor, rng: random.Random) -> Tensor:
        latents = mean[rows] + std[rows] * torch.randn_like(std[rows])
        latents = latents * vae.config.scaling_factor
        texts = [prompt(labels[row], pool.levels[row], rng) for row in rows.tolist()]
        tokens = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
        hidden = parts["text_encoder"](tokens.input_ids).last_hidden_state
        timesteps = torch.randint(1000, (len(rows),))
        noise = torch.randn_like(latents)
        noisy = noise_schedule.add_noise(latents, noise, timesteps)
        predicted = parts["unet"](noisy, timesteps, hidden).sample
        errors = F.mse_loss(predicted, noise, reduction="none").mean((1, 2, 3))
        return (errors * weights[timesteps]).mean()

    last = fit(
        "diffusion", parts, loss, len(labels), steps=steps, batch_size=64, lr=1e-3, seed=seed,
        ema_decay=0.998, checkpoint=checkpoint,
    )  # fmt: skip
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=parts["text_encoder"],
        tokenizer=tokenizer,
        unet=parts["unet"],
        scheduler=noise_schedule,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return pipeline, {"steps": steps, "loss": last}
