"""The autoencoder of a stack: RGB images to small latents.

It is trained, in diffusers' own class, or the PCA of patches, which needs no training.
"""

import hashlib
import random
import time
from pathlib import Path
from typing import TypeAlias

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sip.core.files import atomic_file
from sip.core.progress import progress
from sip.images.patches import PatchAutoencoder
from sip.stack.fit import device_name, fit
from sip.stack.pool import Pool
from sip.stack.samples import Samples
from sip.stack.sizes import DIGITS, Patches, Preset, Vae
from sip.stack.work import Work
from sip.weights.layout import read_json

KL_WEIGHT = 1e-4  # latents stay near unit scale without losing the image
BATCH = 256  # images that are encoded at a time
LATENTS = "latents.safetensors"  # next to the checkpoint of the diffusion model, while it learns
NUM_FOR_SCALE = 2000  # images that the scaling factor is measured on
Autoencoder: TypeAlias = AutoencoderKL | PatchAutoencoder


def vae(preset: Preset = DIGITS, image_size: int = 32) -> AutoencoderKL:
    """Return an untrained autoencoder."""
    assert isinstance(preset.vae, Vae)
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


def train_vae(pool: Pool, preset: Preset, seed: int, work: Work) -> tuple[Autoencoder, dict]:
    """Train the autoencoder; its `scaling_factor` brings the latents to unit deviation."""
    if isinstance(preset.vae, Patches):
        return fit_patches(pool, preset.vae, work)
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
    _set_scale(model, pool, work)
    return model, report


def fit_patches(pool: Pool, sizes: Patches, work: Work) -> tuple[PatchAutoencoder, dict]:
    """Return the PCA of the patches of a pool, and its report, as of a training of no steps."""
    begun = time.monotonic()
    widths = sizes.levels(pool.side)
    model = PatchAutoencoder(widths, sizes.channels, pool.side)
    patch, rows = model.encoder.kernel_size[0], torch.arange(len(pool)).split(BATCH)
    width = 3 * patch**2
    count, total, products = 0, torch.zeros(width).double(), torch.zeros(width, width).double()
    for part in rows:
        columns = F.unfold(pool.pixels(part).cpu(), patch, stride=patch)  # (B, 3 P^2, patches)
        patches = columns.transpose(1, 2).flatten(0, 1).double()
        count += len(patches)
        total += patches.sum(0)
        products += patches.T @ patches
    mean = total / count
    values, vectors = torch.linalg.eigh(products / count - torch.outer(mean, mean))
    components = vectors[:, -sizes.channels :].T.flip(0)
    model.set_components(mean.float(), components.float().contiguous())
    model = model.to(work.device)
    _set_scale(model, pool, work)
    samples = Samples(pool, work)
    samples.save("vae", [samples.originals, reconstructed(model, samples.originals)])
    return model, {
        "steps": 0,
        "loss": values[: -sizes.channels].sum().item() / width,  # mean squared error that is left
        "seconds": round(time.monotonic() - begun, 1),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "device": device_name(work.device),
    }


def load_vae(folder: Path) -> Autoencoder:
    """Load the autoencoder of a stack's diffusion model, float32, in evaluation mode."""
    kinds = {kind.__name__: kind for kind in (AutoencoderKL, PatchAutoencoder)}
    kind = kinds[read_json(folder / "config.json")["_class_name"]]
    model = kind.from_pretrained(folder, dtype=torch.float32)
    model.register_to_config(_name_or_path="")  # else the folder's path would be saved
    return model.eval()


def _set_scale(model: Autoencoder, pool: Pool, work: Work) -> None:
    """Set `scaling_factor`, which brings the latents to unit deviation."""
    latents = encode(model, pool, torch.arange(min(NUM_FOR_SCALE, len(pool))), work)[0]
    model.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))


@torch.no_grad()
def encode(model: Autoencoder, pool: Pool, rows: Tensor, work: Work) -> tuple[Tensor, Tensor]:
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


def all_latents(model: Autoencoder, pool: Pool, work: Work) -> tuple[Tensor, Tensor]:
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


def _name(model: Autoencoder, pool: Pool) -> str:
    """Return a hash of the encoder's weights and of the images."""
    sha256 = hashlib.sha256(pool.images.numpy().tobytes())
    sha256.update(f"{pool.mirrored}".encode())
    for value in model.encoder.state_dict().values():
        sha256.update(value.cpu().numpy().tobytes())
    return sha256.hexdigest()


@torch.no_grad()
def reconstructed(model: Autoencoder, pixels: Tensor) -> Tensor:
    """Return images (B, 3, S, S), in [-1, 1], through the latents' means and back."""
    decoded: Tensor = model.decode(model.encode(pixels).latent_dist.mean).sample
    return decoded.float().clamp(-1, 1)
