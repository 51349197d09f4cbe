"""Chroma: FLUX.1's transformer without CLIP and without an embedded guidance scale, guided by T5.

Equal, row by row, to diffusers' `ChromaPipeline` and its img2img twin, called with their defaults.
As there, T5 does not attend to padding, and the transformer gets which tokens are text, the first
one of the padding included.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from sip.core.shapes import Size
from sip.images.families.base import Conditioning
from sip.images.families.flow import PackedFamily
from sip.prompts.base import Span
from sip.prompts.weighting.base import Weighting

LENGTH = 512  # tokens, the pipeline's default


class Chroma(PackedFamily):
    """A T5 encoder, a transformer on packed latents."""

    pipelines: ClassVar[tuple[str, ...]] = ("ChromaPipeline", "ChromaImg2ImgPipeline")
    # The empty prompt has other states at a prompt's positions: its padding is not attended to.
    weighs_texts: ClassVar[bool] = False
    tokenizers: ClassVar[Mapping[str, str | int]] = {"tokenizer": LENGTH}

    def __init__(self, pipeline: Any) -> None:
        super().__init__(pipeline)
        self.tokenizer = pipeline.tokenizer
        self.encoder = pipeline.text_encoder

    def encode_texts(self, weighting: Weighting, prompts: Sequence[tuple[Span, ...]]) -> Tensor:
        """Return the embeddings (B, L (D + 1)): states, and 1 where the transformer reads them."""
        tokens = self.tokenizer(
            ["".join(span.text for span in spans) for spans in prompts],
            padding="max_length",
            max_length=LENGTH,
            truncation=True,
            return_tensors="pt",
        ).to(self.encoder.device)
        mask = tokens.attention_mask
        states = self.encoder(tokens.input_ids, attention_mask=mask).last_hidden_state
        places = torch.arange(LENGTH, device=mask.device)
        is_read = places <= mask.sum(1, keepdim=True)  # the tokens, and one of the padding
        marked = torch.cat([states, is_read.to(states)[..., None]], dim=-1)
        return marked.flatten(1).to(self.denoiser.dtype)

    def unconditional(self, weighting: Weighting) -> Tensor:
        """Return the embedding (1, L (D + 1)) of the empty prompt."""
        return self.encode_texts(weighting, [()])

    def conditioning(self, texts: Tensor, scales: Tensor, size: Size) -> Conditioning:
        """Return what the transformer is called with next to latents and timestep."""
        states = texts.unflatten(1, (LENGTH, -1))
        height, width = self.patches(size)
        places = torch.cartesian_prod(torch.arange(1), torch.arange(height), torch.arange(width))
        is_read = torch.cat([states[..., -1], texts.new_ones(len(texts), height * width)], dim=1)
        return {
            "encoder_hidden_states": states[..., :-1].contiguous(),
            "txt_ids": texts.new_zeros(LENGTH, 3),
            "img_ids": places.to(texts),
            "attention_mask": is_read,
        }
