"""Stable Diffusion 1.x and 2.x, SD-Turbo, and distilled models whose U-Net reads the guidance.

Equal, row by row, to diffusers' `StableDiffusionPipeline` and `StableDiffusionImg2ImgPipeline`.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from sip.core.shapes import Size
from sip.images.families.base import Conditioning, Family, guidance_embedding
from sip.images.families.clip_text import ClipText
from sip.images.folder import PipelineFolder
from sip.prompts.base import Span
from sip.prompts.weighting.base import Weighting


class StableDiffusion(Family):
    """One CLIP text encoder, a U-Net."""

    pipelines: ClassVar[tuple[str, ...]] = (
        "StableDiffusionPipeline",
        "StableDiffusionImg2ImgPipeline",
        "LatentConsistencyModelPipeline",
        "LatentConsistencyModelImg2ImgPipeline",
        "StableDiffusionInpaintPipeline",
    )
    can_be_screened = True

    def __init__(self, pipeline: Any) -> None:
        super().__init__(pipeline)
        self.text = ClipText(pipeline.tokenizer, pipeline.text_encoder, layer=-1)

    @classmethod
    def best_unit(cls, folder: PipelineFolder) -> int:
        """Return the number of px of which multiples are halved evenly within the U-Net."""
        levels: int = len(folder.config("unet")["block_out_channels"])
        return folder.vae_scale * 2 ** (levels - 1)

    @classmethod
    def reads_mask(cls, folder: PipelineFolder) -> bool:
        """Return whether the U-Net reads a mask and the latents of what is kept."""
        num_latents = folder.config("vae")["latent_channels"]
        return bool(folder.config("unet")["in_channels"] == 2 * num_latents + 1)

    def encode_texts(self, weighting: Weighting, prompts: Sequence[tuple[Span, ...]]) -> Tensor:
        """Return the embeddings (B, L D), one a prompt."""
        return self.text.embed(weighting, prompts)[0].flatten(1).to(self.denoiser.dtype)

    def unconditional(self, weighting: Weighting) -> Tensor:
        """Return the embedding (1, L D) of the empty prompt."""
        return self.text.empty()[0].flatten(1).to(self.denoiser.dtype)

    def forget(self) -> None:
        """Forget the empty prompt."""
        self.text.forget()

    def conditioning(self, texts: Tensor, scales: Tensor, size: Size) -> Conditioning:
        """Return what the U-Net is called with next to latents and timestep."""
        width = self.denoiser.config.cross_attention_dim
        hidden = texts.unflatten(1, (-1, width))
        return {"encoder_hidden_states": hidden, **self._embedded_guidance(scales)}

    def _embedded_guidance(self, scales: Tensor) -> Conditioning:
        width = self.denoiser.config.time_cond_proj_dim
        if width is None:
            return {}
        return {"timestep_cond": guidance_embedding(scales, width).to(self.denoiser.dtype)}
