"""FLUX.1: a transformer with flow matching; dev reads the guidance scale, schnell needs none.

Equal, row by row, to diffusers' `FluxPipeline` and its img2img twin, called with their defaults. A
model that does not read the scale is guided as by their `true_cfg_scale`. One that does takes no
negative prompt.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from sip.core.shapes import Size
from sip.images.families.base import Conditioning
from sip.images.families.clip_text import ClipText
from sip.images.families.flow import PackedFamily
from sip.images.families.t5_text import T5Text
from sip.prompts.base import Span
from sip.prompts.weighting.base import Weighting

T5_LENGTH = 512  # tokens, the pipeline's default


class PooledClip(ClipText):
    """CLIP's pooled state in place of its projected one."""

    def _encode(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        device = next(self.encoder.parameters()).device
        output = self.encoder(ids.to(device), attention_mask=mask.to(device))
        return output.last_hidden_state, output.pooler_output


class Flux(PackedFamily):
    """A CLIP text encoder that pools, a T5 encoder, a transformer on packed latents."""

    pipelines: ClassVar[tuple[str, ...]] = ("FluxPipeline", "FluxImg2ImgPipeline")
    tokenizers: ClassVar[Mapping[str, str | int]] = {
        "tokenizer": "text_encoder",
        "tokenizer_2": T5_LENGTH,
    }

    def __init__(self, pipeline: Any) -> None:
        super().__init__(pipeline)
        self.text = PooledClip(pipeline.tokenizer, pipeline.text_encoder, layer=-1)
        self.t5 = T5Text(pipeline.tokenizer_2, pipeline.text_encoder_2, T5_LENGTH)
        self.pooled_width = int(self.denoiser.config.pooled_projection_dim)

    def encode_texts(self, weighting: Weighting, prompts: Sequence[tuple[Span, ...]]) -> Tensor:
        """Return the embeddings (B, L D + P), one a prompt; the pooled part is not weighted."""
        return self._joined(
            self.t5.embed(weighting, prompts)[0], self.text.embed(weighting, prompts)[1]
        )

    def unconditional(self, weighting: Weighting) -> Tensor:
        """Return the embedding (1, L D + P) of the empty prompt."""
        return self._joined(self.t5.empty()[0], self.text.empty()[1])

    def forget(self) -> None:
        """Forget the empty prompt."""
        self.text.forget()
        self.t5.forget()

    def conditioning(self, texts: Tensor, scales: Tensor, size: Size) -> Conditioning:
        """Return what the transformer is called with next to latents and timestep."""
        hidden, pooled = texts[:, : -self.pooled_width], texts[:, -self.pooled_width :]
        height, width = self.patches(size)
        places = torch.cartesian_prod(torch.arange(1), torch.arange(height), torch.arange(width))
        return {
            "encoder_hidden_states": hidden.unflatten(1, (T5_LENGTH, -1)).contiguous(),
            "pooled_projections": pooled.contiguous(),
            "txt_ids": texts.new_zeros(T5_LENGTH, 3),
            "img_ids": places.to(texts),
            "guidance": self.guidance(scales),
        }

    def _joined(self, hidden: Tensor, pooled: Tensor | None) -> Tensor:
        assert pooled is not None
        return torch.cat([hidden.flatten(1), pooled.float()], dim=1).to(self.denoiser.dtype)
