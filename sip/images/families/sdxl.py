"""Stable Diffusion XL and SDXL-Turbo.

Equal, row by row, to diffusers' `StableDiffusionXLPipeline` and its img2img twin, called with their
defaults: images of the size that is generated, not cropped. As there, "no text" is a zero embedding
where the model's `force_zeros_for_empty_prompt` says so.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from sip.core.errors import UserError
from sip.core.shapes import Size
from sip.images.families.base import Conditioning
from sip.images.families.clip_text import ClipText
from sip.images.families.sd import StableDiffusion
from sip.prompts.base import Span
from sip.prompts.weighting.base import Weighting


class StableDiffusionXL(StableDiffusion):
    """Two CLIP text encoders side by side, the second one's pooled output, the image's size."""

    pipelines: ClassVar[tuple[str, ...]] = (
        "StableDiffusionXLPipeline",
        "StableDiffusionXLImg2ImgPipeline",
        "StableDiffusionXLInpaintPipeline",
    )
    can_be_screened = False
    tokenizers: ClassVar[Mapping[str, str | int]] = {
        "tokenizer": "text_encoder",
        "tokenizer_2": "text_encoder_2",
    }

    def __init__(self, pipeline: Any) -> None:
        if pipeline.text_encoder is None or pipeline.config.get("requires_aesthetics_score"):
            raise UserError("images.model: expected an SDXL base model, got a refiner")
        super().__init__(pipeline)
        self.text = ClipText(pipeline.tokenizer, pipeline.text_encoder, layer=-2)
        self.text_2 = ClipText(pipeline.tokenizer_2, pipeline.text_encoder_2, layer=-2)
        self.zeros_for_empty = bool(pipeline.config.force_zeros_for_empty_prompt)
        self.pooled_width = int(pipeline.text_encoder_2.config.projection_dim)

    def encode_texts(self, weighting: Weighting, prompts: Sequence[tuple[Span, ...]]) -> Tensor:
        """Return the embeddings (B, L D + P), one a prompt; the pooled part is not weighted."""
        return self._joined(
            self.text.embed(weighting, prompts), self.text_2.embed(weighting, prompts)
        )

    def unconditional(self, weighting: Weighting) -> Tensor:
        """Return the embedding (1, L D + P) of the empty prompt, or zeros."""
        texts = self._joined(self.text.empty(), self.text_2.empty())
        return torch.zeros_like(texts) if self.zeros_for_empty else texts

    def forget(self) -> None:
        """Forget the empty prompt."""
        super().forget()
        self.text_2.forget()

    def conditioning(self, texts: Tensor, scales: Tensor, size: Size) -> Conditioning:
        """Return what the U-Net is called with next to latents and timestep."""
        hidden, pooled = texts[:, : -self.pooled_width], texts[:, -self.pooled_width :]
        height, width = size.height, size.width
        sizes = [height, width, 0, 0, height, width]  # original, crop, target
        time_ids = torch.tensor([sizes], dtype=texts.dtype).to(texts.device)
        added = {
            "text_embeds": pooled.contiguous(),
            "time_ids": time_ids.repeat(len(texts), 1),
        }
        return {
            **super().conditioning(hidden.contiguous(), scales, size),
            "added_cond_kwargs": added,
        }

    def _joined(
        self, first: tuple[Tensor, Tensor | None], second: tuple[Tensor, Tensor | None]
    ) -> Tensor:
        hidden, pooled = torch.cat([first[0], second[0]], dim=-1), second[1]
        assert pooled is not None
        return torch.cat([hidden.flatten(1), pooled.float()], dim=1).to(self.denoiser.dtype)
