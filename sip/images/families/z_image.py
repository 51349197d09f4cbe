"""Z-Image and Z-Image-Turbo: a transformer with flow matching, Qwen3 as its text encoder.

Equal, row by row, to diffusers' `ZImagePipeline` and its img2img twin, called with their defaults.
A guidance scale of these pipelines is one less than everywhere else, and than here: theirs of 4 is
5, theirs of 0 is 1, which is none.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from sip.core.shapes import Size
from sip.images.families.base import Conditioning
from sip.images.families.language_model import LanguageFamily, LanguageText, tokens_of

LENGTH = 512  # tokens, the pipeline's default
TEMPLATE = 8  # of them, of the chat template


class ZImage(LanguageFamily):
    """A language model that reads the prompt, a transformer."""

    pipelines: ClassVar[tuple[str, ...]] = ("ZImagePipeline", "ZImageImg2ImgPipeline")
    tokenizers: ClassVar[Mapping[str, str | int]] = {"tokenizer": LENGTH - TEMPLATE}

    def __init__(self, pipeline: Any) -> None:
        super().__init__(pipeline)
        tokenizer = pipeline.tokenizer

        def template(text: str) -> str:
            message = [{"role": "user", "content": text}]
            settings = {"add_generation_prompt": True, "enable_thinking": True}
            filled: str = tokenizer.apply_chat_template(message, tokenize=False, **settings)
            return filled

        self.text = LanguageText(tokenizer, pipeline.text_encoder, template, -2, 0, LENGTH)

    def conditioning(self, texts: Tensor, scales: Tensor, size: Size) -> Conditioning:
        """Return what the transformer is called with: texts of unlike length."""
        states, is_token = tokens_of(texts, LENGTH)
        return {"cap_feats": [row[kept] for row, kept in zip(states, is_token, strict=True)]}

    def predict(self, latents: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        """Return the prediction (B, C, h, w) for one timestep () on the device."""
        times = ((1000 - timestep) / 1000).expand(len(latents))
        frames = list(latents.unsqueeze(2).unbind())
        rows = self.denoiser(frames, times, return_dict=False, **conditioning)[0]
        return -torch.stack(list(rows)).squeeze(2)  # it predicts the way from noise to image
