"""What a family of diffusion models is to the engine: texts, latents and a denoiser, in rows.

Every row has its own prompt, guidance scale and noise, and none depends on the others.
Shapes: B rows; latents (B, C, h, w); pixels (B, 3, H, W), in [0, 1]; texts (B, F), flat.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sip.core.shapes import Size
from sip.images.folder import PipelineFolder
from sip.images.schedulers import NoiseSchedule, SchedulerName, noise_schedule
from sip.prompts.base import Span
from sip.prompts.weighting.base import Weighting

Conditioning = Mapping[str, Any]


class Family(nn.Module, ABC):
    """One loaded model.

    Args:
        pipeline: A pipeline of one of the classes `pipelines`.
    """

    pipelines: ClassVar[tuple[str, ...]]  # the first one loads them all
    denoiser_part: ClassVar[str] = "unet"
    guidance_argument: ClassVar[str] = "guidance_scale"  # of the pipelines
    can_be_screened: ClassVar[bool] = False  # whether there is a safety checker for them
    optional: ClassVar[tuple[str, ...]] = ()  # parts that the folder may lack
    texts_kept: ClassVar[int] = 512
    weighs_texts: ClassVar[bool] = True  # else prompt weights other than 1 are refused
    # Tokenizer -> the text encoder whose positions bound a prompt, or a fixed number of tokens.
    tokenizers: ClassVar[Mapping[str, str | int]] = {"tokenizer": "text_encoder"}

    def __init__(self, pipeline: Any) -> None:
        super().__init__()
        self.vae = pipeline.vae
        self.denoiser = getattr(pipeline, self.denoiser_part)
        if self.vae.config.get("force_upcast") and self.vae.dtype == torch.float16:
            self.vae.float()  # SDXL's gives NaN in float16

    def shape_of_latents(self, size: Size) -> tuple[int, int, int]:
        """Return (C, h, w) of the latents of an image of this size."""
        scale = 2 ** (len(self.vae.config.block_out_channels) - 1)
        return self.vae.config.latent_channels, size.height // scale, size.width // scale

    @staticmethod
    def first_step(num_steps: int, noise_rate: float) -> int:
        """Return the first step that is run, rounded as diffusers' img2img pipeline does."""
        return num_steps - int(num_steps * noise_rate)

    @classmethod
    def schedule(
        cls, folder: PipelineFolder, name: SchedulerName, num_steps: int, size: Size
    ) -> NoiseSchedule:
        """Return the schedule of a model that is not loaded yet.

        Raises:
            UserError: The model is not meant for that scheduler.
        """
        return noise_schedule(name, folder.config("scheduler"), num_steps)

    @classmethod
    def size_unit(cls, folder: PipelineFolder) -> int:
        """Return the number of px that sizes are multiples of."""
        return folder.vae_scale

    @classmethod
    def best_unit(cls, folder: PipelineFolder) -> int:
        """Return the number of px of which multiples are halved evenly within the denoiser."""
        return cls.size_unit(folder)

    @classmethod
    def longest_side(cls, folder: PipelineFolder) -> int | None:
        """Return the longest side that the denoiser has places for, in px; None: any."""
        return None

    @classmethod
    def embeds_guidance(cls, folder: PipelineFolder) -> bool:
        """Return whether the denoiser reads the guidance scale and runs no unconditional half."""
        return folder.config(cls.denoiser_part).get("time_cond_proj_dim") is not None

    @classmethod
    def reads_mask(cls, folder: PipelineFolder) -> bool:
        """Return whether the denoiser reads a mask and the latents of what is kept."""
        return False

    @abstractmethod
    def encode_texts(self, weighting: Weighting, prompts: Sequence[tuple[Span, ...]]) -> Tensor:
        """Return the embeddings (B, F), one a prompt."""

    @abstractmethod
    def unconditional(self, weighting: Weighting) -> Tensor:
        """Return the embedding (1, F) that stands for "no text"."""

    @abstractmethod
    def conditioning(self, texts: Tensor, scales: Tensor, size: Size) -> Conditioning:
        """Return what the denoiser is called with next to latents and timestep.

        Args:
            texts: (B, F), as `encode_texts` returns them.
            scales: (B,), guidance scales, for denoisers that read them.
            size: Width and height of the images.
        """

    def predict(self, latents: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        """Return the denoiser's prediction (B, C, h, w) for one timestep () on the device."""
        output: Tensor = self.denoiser(latents, timestep, return_dict=False, **conditioning)[0]
        return output

    def guide(self, without: Tensor, with_text: Tensor, scales: Tensor) -> Tensor:
        """Return guided predictions (B, C, h, w), float32.

        Args:
            without, with_text: Predictions (B, C, h, w), float32.
            scales: Guidance scales (B, 1, 1, 1); 1 returns `with_text`.
        """
        return torch.lerp(without, with_text, scales)

    def forget(self) -> None:
        """Forget the embeddings that are kept; they lie on the device."""

    def framed(self, batch: Tensor) -> Tensor:
        """Return pixels or latents (B, C, h, w) as the autoencoder takes them."""
        return batch

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the latent distributions (B, 2 C, h, w), float32: mean and log variance.

        Of an autoencoder without distributions, the latents (B, C, h, w).
        """
        encoded = self.vae.encode(pixels.to(self.vae.dtype) * 2 - 1)
        parameters: Tensor = (
            encoded.latents if "latents" in encoded else encoded.latent_dist.parameters
        )
        return parameters.float()

    def scaled(self, latents: Tensor) -> Tensor:
        """Return the autoencoder's latents at the scale that the denoiser works at."""
        mean, std = self._moments(latents)
        return (latents - mean) * (self._factor / std)

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels (B, 3, H, W), float32, in [0, 1] or not finite, for scaled latents."""
        mean, std = self._moments(latents)
        latents = latents * (std / self._factor) + mean
        return self._pixels(latents.to(self.vae.dtype))

    def _pixels(self, latents: Tensor) -> Tensor:
        pixels = self.vae.decode(latents, return_dict=False)[0]
        return pixels.float().mul_(0.5).add_(0.5).clamp_(0, 1)  # NaN stays NaN

    @property
    def _factor(self) -> float:
        return float(self.vae.config.get("scaling_factor", 1.0))

    def _moments(self, latents: Tensor) -> tuple[Tensor | float, Tensor | float]:
        config = self.vae.config
        if config.get("latents_mean") is None or config.get("latents_std") is None:
            return float(config.get("shift_factor") or 0.0), 1.0
        mean, std = (
            torch.tensor(values, device=latents.device).view(1, -1, 1, 1)
            for values in (config.latents_mean, config.latents_std)
        )
        return mean, std


def guidance_embedding(scales: Tensor, width: int) -> Tensor:
    """Return sinusoidal embeddings (B, width) of guidance scales (B,), for distilled denoisers.

    Source: `get_guidance_scale_embedding` of diffusers' pipelines (Apache 2.0).
    """
    half = width // 2
    frequencies = torch.arange(half, dtype=torch.float32, device=scales.device)
    frequencies = torch.exp(frequencies * (-math.log(10000.0) / (half - 1)))
    angles = (scales.float() - 1)[:, None] * 1000 * frequencies[None]
    embedded = torch.cat([angles.sin(), angles.cos()], dim=1)
    return nn.functional.pad(embedded, (0, width % 2))
