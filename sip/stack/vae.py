"""The autoencoder of a stack: RGB images to small latents, in diffusers' own class."""

import hashlib
import random

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sip.core.files import atomic_file
from sip.core.progress import progress
from sip.stack.fit import fit
from sip.stack.pool import Pool
from sip.stack.samples import Samples
from sip.stack.sizes import DIGITS, Preset
from sip.stack.work import Work

KL_WEIGHT = 1e-4  # latents stay near unit scale without losing the image
BATCH = 256  # images that are encoded at a time
LATENTS = "latents.safetensors"  # next to the checkpoint of the diffusion model, while it learns
NUM_FOR_SCALE = 2000  # images that the scaling factor is measured on


def vae(preset: Preset = DIGITS, image_size: int = 32) -> AutoencoderKL:
    """Return an untrained autoencoder."""
    widths = preset.vae.levels(image_size)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=widths,
        layers_per_block=preset.vae.layers,
        latent_channels=preset.vae.channels,
        norm_num_groups=8,
        sample_size=image_size,
    )


def train_vae(pool: Pool, preset: Preset, seed: int, work: Work) -> tuple[AutoencoderKL, dict]:
    """Train the autoencoder; its `scaling_factor` brings the latents to unit deviation."""
    torch.manual_seed(seed)
    model = vae(preset, pool.side).to(work.device)
    work.compiled(model.encoder, model.decoder)

    def loss(rows: Tensor, rng: random.Random) -> Tensor:
        pixels = pool.pixels(rows)
        posterior = model.encode(pixels).latent_dist
        decoded = model.decode(posterior.sample()).sample.float()
        distance = F.mse_loss(decoded, pixels) + 0.1 * F.l1_loss(decoded, pixels)
        return distance + KL_WEIGHT * posterior.kl().float().mean() / pixels[0].numel()

    samples = Samples(pool, work)

    def show(current: nn.Module) -> None:
        assert isinstance(current, AutoencoderKL)
        samples.save("vae", [samples.originals, reconstructed(current, samples.originals)])

    training = preset.training["vae"]
    report = fit("vae", model, loss, len(pool), training=training, seed=seed, work=work, show=show)
    latents = encode(model, pool, torch.arange(min(NUM_FOR_SCALE, len(pool))), work)[0]
    model.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))
    return model, report


@torch.no_grad()
def encode(model: AutoencoderKL, pool: Pool, rows: Tensor, work: Work) -> tuple[Tensor, Tensor]:
    """Return the latents' mean and deviation, (N, C, h, w) each, float32, not scaled."""
    means, deviations = [], []
    with progress("latents", len(rows), "image", delay=2) as bar:
        for part in rows.split(BATCH):
            with work.autocast():
                posterior = model.encode(pool.pixels(part)).latent_dist
            means.append(posterior.mean.float())
            deviations.append(posterior.std.float())
            bar.update(len(part))
    return torch.cat(means).contiguous(), torch.cat(deviations).contiguous()


def all_latents(model: AutoencoderKL, pool: Pool, work: Work) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of a whole pool's latents, as `encode`.

    On a CPU, which takes minutes, they are kept on disk for a resumed training.
    """
    if torch.device(work.device).type != "cpu":
        return encode(model, pool, torch.arange(len(pool)), work)
    file, known = work.folder / LATENTS, {"of": _name(model, pool)}
    if file.exists():
        with safe_open(file, "pt") as stored:
            if stored.metadata() == known:
                return stored.get_tensor("mean"), stored.get_tensor("std")
    mean, std = encode(model, pool, torch.arange(len(pool)), work)
    with atomic_file(file) as part:
        save_file({"mean": mean, "std": std}, part, metadata=known)
    return mean, std


def _name(model: AutoencoderKL, pool: Pool) -> str:
    """Return a hash of the encoder's weights and of the images."""
    sha256 = hashlib.sha256(pool.images.numpy().tobytes())
    sha256.update(f"{pool.mirrored}".encode())
    for value in model.encoder.state_dict().values():
        sha256.update(value.cpu().numpy().tobytes())
    return sha256.hexdigest()


@torch.no_grad()
def reconstructed(model: AutoencoderKL, pixels: Tensor) -> Tensor:
    """Return images (B, 3, S, S), in [-1, 1], through the latents' means and back."""
    decoded: Tensor = model.decode(model.encode(pixels).latent_dist.mean).sample
    return decoded.float().clamp(-1, 1)
