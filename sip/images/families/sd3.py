"""Stable Diffusion 3 and 3.5: a transformer with flow matching.

Equal, row by row, to diffusers' `StableDiffusion3Pipeline` and its img2img twin, called with their
defaults. The T5 encoder may be missing from the folder; zeros stand in for it, as there.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sip.core.shapes import Size
from sip.images.families.base import Conditioning
from sip.images.families.clip_text import ClipText
from sip.images.families.flow import FlowFamily
from sip.images.families.t5_text import T5Text
from sip.images.folder import PipelineFolder
from sip.prompts.base import Span
from sip.prompts.weighting.base import Weighting

T5_LENGTH = 256  # tokens, the pipeline's default


class StableDiffusion3(FlowFamily):
    """Two CLIP text encoders that pool, a T5 encoder, a transformer."""

    pipelines: ClassVar[tuple[str, ...]] = (
        "StableDiffusion3Pipeline",
        "StableDiffusion3Img2ImgPipeline",
    )
    optional = ("text_encoder_3", "tokenizer_3")
    texts_kept = 128  # one takes 2.7 MB
    is_linear = False
    tokenizers: ClassVar[Mapping[str, str | int]] = {
        "tokenizer": "text_encoder",
        "tokenizer_2": "text_encoder_2",
        "tokenizer_3": T5_LENGTH,
    }

    def __init__(self, pipeline: Any) -> None:
        super().__init__(pipeline)
        self.text = ClipText(pipeline.tokenizer, pipeline.text_encoder, layer=-2)
        self.text_2 = ClipText(pipeline.tokenizer_2, pipeline.text_encoder_2, layer=-2)
        self.t5: T5Text | None = None
        if pipeline.text_encoder_3 is not None:
            self.t5 = T5Text(pipeline.tokenizer_3, pipeline.text_encoder_3, T5_LENGTH)
        self.width = int(self.denoiser.config.joint_attention_dim)
        self.pooled_width = int(self.denoiser.config.pooled_projection_dim)

    @classmethod
    def size_unit(cls, folder: PipelineFolder) -> int:
        """Return the number of px that sizes are multiples of: that of a patch."""
        patch: int = folder.config("transformer")["patch_size"]
        return folder.vae_scale * patch

    @classmethod
    def longest_side(cls, folder: PipelineFolder) -> int | None:
        """Return the longest side that the transformer has places for, in px."""
        places: int | None = folder.config("transformer").get("pos_embed_max_size")
        return places and places * cls.size_unit(folder)

    def encode_texts(self, weighting: Weighting, prompts: Sequence[tuple[Span, ...]]) -> Tensor:
        """Return the embeddings (B, L D + P), one a prompt; the pooled part is not weighted."""
        clips = [clip.embed(weighting, prompts) for clip in (self.text, self.text_2)]
        t5 = self.t5.embed(weighting, prompts)[0] if self.t5 else None
        return self._joined(clips, t5)

    def unconditional(self, weighting: Weighting) -> Tensor:
        """Return the embedding (1, L D + P) of the empty prompt."""
        t5 = self.t5.empty()[0] if self.t5 else None
        return self._joined([self.text.empty(), self.text_2.empty()], t5)

    def forget(self) -> None:
        """Forget the empty prompt."""
        for text in (self.text, self.text_2, self.t5):
            if text is not None:
                text.forget()

    def conditioning(self, texts: Tensor, scales: Tensor, size: Size) -> Conditioning:
        """Return what the transformer is called with next to latents and timestep."""
        hidden, pooled = texts[:, : -self.pooled_width], texts[:, -self.pooled_width :]
        return {
            "encoder_hidden_states": hidden.unflatten(1, (-1, self.width)).contiguous(),
            "pooled_projections": pooled.contiguous(),
        }

    def predict(self, latents: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        """Return the transformer's prediction (B, C, h, w) for one timestep () on the device."""
        timesteps = timestep.expand(len(latents))
        output: Tensor = self.denoiser(
            hidden_states=latents, timestep=timesteps, return_dict=False, **conditioning
        )[0]
        return output

    def _joined(self, clips: Sequence[tuple[Tensor, Tensor | None]], t5: Tensor | None) -> Tensor:
        hidden = torch.cat([clip[0] for clip in clips], dim=-1)
        pooled = torch.cat([clip[1].float() for clip in clips if clip[1] is not None], dim=-1)
        hidden = nn.functional.pad(hidden, (0, self.width - hidden.shape[-1]))
        if t5 is None:
            t5 = hidden.new_zeros(len(hidden), T5_LENGTH, self.width)
        hidden = torch.cat([hidden, t5.to(hidden.dtype)], dim=1)
        return torch.cat([hidden.flatten(1), pooled], dim=1).to(self.denoiser.dtype)
