"""The miniature autoencoder: 32x32 RGB to an 8x8x4 latent, in diffusers' own class."""

import random
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from sip.miniature.fit import fit
from sip.miniature.pool import Pool

KL_WEIGHT = 1e-4  # latents stay near unit scale without losing the picture


def train_vae(pool: Pool, steps: int, seed: int, checkpoint: Path) -> tuple[AutoencoderKL, dict]:
    """Train the autoencoder; its `scaling_factor` brings the latents to unit deviation."""
    torch.manual_seed(seed)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=32,
    )

    def loss(rows: Tensor, rng: random.Random) -> Tensor:
        pixels = pool.pixels(rows)
        posterior = vae.encode(pixels).latent_dist
        decoded = vae.decode(posterior.sample()).sample
        distance = F.mse_loss(decoded, pixels) + 0.1 * F.l1_loss(decoded, pixels)
        return distance + KL_WEIGHT * posterior.kl().mean() / pixels[0].numel()

    last = fit(
        "vae", vae, loss, len(pool.labels), steps=steps, batch_size=48, lr=2e-3, seed=seed,
        ema_decay=0.99, checkpoint=checkpoint,
    )  # fmt: skip
    latents = encode(vae, pool, torch.arange(min(2000, len(pool.labels))))[0]
    vae.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))
    return vae, {"steps": steps, "loss": last}


@torch.no_grad()
def encode(vae: AutoencoderKL, pool: Pool, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the latents' mean and deviation, (N, 4, 8, 8) each, not scaled."""
    posteriors = [vae.encode(pool.pixels(part)).latent_dist for part in rows.split(256)]
    return torch.cat([p.mean for p in posteriors]), torch.cat([p.std for p in posteriors])
