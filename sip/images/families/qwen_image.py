"""Qwen-Image: a transformer with flow matching, Qwen2.5-VL as its text encoder.

Equal, row by row, to diffusers' `QwenImagePipeline` and its img2img twin, called with their
defaults; the guidance scale is their `true_cfg_scale`, with the empty prompt as "no text". As
there, a guided prediction is brought back to the norm of the one with text.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from sip.core.shapes import Size
from sip.images.families.base import Conditioning
from sip.images.families.flow import PATCH, PackedFamily, packed, unpacked
from sip.images.families.language_model import LanguageFamily, LanguageText, tokens_of
from sip.images.folder import PipelineFolder

LENGTH = 1024  # tokens, the pipeline's default
AFTER = 5  # of them, of the template behind the prompt


class QwenImage(LanguageFamily, PackedFamily):
    """A vision-language model that reads the prompt, a transformer, an autoencoder of videos."""

    pipelines: ClassVar[tuple[str, ...]] = ("QwenImagePipeline", "QwenImageImg2ImgPipeline")
    guidance_argument: ClassVar[str] = "true_cfg_scale"
    tokenizers: ClassVar[Mapping[str, str | int]] = {"tokenizer": LENGTH - AFTER}

    def __init__(self, pipeline: Any) -> None:
        super().__init__(pipeline)
        self.text = LanguageText(
            pipeline.tokenizer,
            pipeline.text_encoder,
            pipeline.prompt_template_encode.format,
            layer=-1,
            skipped=pipeline.prompt_template_encode_start_idx,
            length=LENGTH,
        )

    @classmethod
    def size_unit(cls, folder: PipelineFolder) -> int:
        """Return the number of px that sizes are multiples of: that of a patch."""
        halvings: int = len(folder.config("vae")["temperal_downsample"])
        return 2**halvings * PATCH

    def shape_of_latents(self, size: Size) -> tuple[int, int, int]:
        """Return (C, h, w) of the latents of an image of this size."""
        scale = 2 ** len(self.vae.config.temperal_downsample)
        return self.vae.config.z_dim, size.height // scale, size.width // scale

    def conditioning(self, texts: Tensor, scales: Tensor, size: Size) -> Conditioning:
        """Return what the transformer is called with next to latents and timestep."""
        states, is_token = tokens_of(texts, LENGTH)
        return {
            "encoder_hidden_states": states,
            "encoder_hidden_states_mask": None if is_token.all() else is_token.long(),
            "img_shapes": [[(1, *self.patches(size))]] * len(texts),
            "guidance": self.guidance(scales),
        }

    def guide(self, without: Tensor, with_text: Tensor, scales: Tensor) -> Tensor:
        """Return guided predictions (B, C, h, w), each patch as long as the one with text."""
        plain, guided = packed(with_text), packed(super().guide(without, with_text, scales))
        norms = plain.norm(dim=-1, keepdim=True) / guided.norm(dim=-1, keepdim=True)
        return unpacked(guided * norms, *with_text.shape[2:])

    def framed(self, batch: Tensor) -> Tensor:
        """Return pixels or latents (B, C, h, w) as (B, C, 1, h, w), a video of a frame each."""
        return batch.unsqueeze(2)

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the latent distributions (B, 2 C, h, w), float32, of a frame each."""
        return super().encode(self.framed(pixels)).squeeze(2)

    def _pixels(self, latents: Tensor) -> Tensor:
        return super()._pixels(self.framed(latents)).squeeze(2)
