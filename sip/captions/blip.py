"""BLIP writes what it sees: nucleus samples, or the best beams.

Source: Li et al., BLIP, ICML 2022 (arXiv 2201.12086), by transformers. The augmentation paper
samples with p = 0.9 or takes 3 beams.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import (
    BlipForConditionalGeneration,
    BlipProcessor,
    DynamicCache,
    EncoderDecoderCache,
)

from sip.captions.vision_language import CACHE, VisionLanguage


class Blip(VisionLanguage):
    """A decoder that attends to the picture's patches at every token."""

    model_class = BlipForConditionalGeneration
    processor_class = BlipProcessor

    def _generate(self, pixels: Tensor, **options: Any) -> Tensor:
        """Return tokens (pictures * num_captions, length), int64, picture by picture."""
        decoder, text = self.network.text_decoder, self.network.config.text_config
        patches = self.network.vision_model(pixel_values=pixels).last_hidden_state
        start = torch.full((len(patches), 1), text.bos_token_id, device=patches.device)
        rows = self.rows_of_a_picture
        # `generate` asks for the patches themselves too, though their keys and values are there.
        seen = patches.repeat_interleave(rows, dim=0)
        return decoder.generate(
            input_ids=start.repeat_interleave(rows, dim=0),
            encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long, device=seen.device),
            eos_token_id=text.sep_token_id,
            pad_token_id=text.pad_token_id,
            **{CACHE: self._seen_once(start, patches, rows * options["num_beams"])},
            **options,
        )

    def _seen_once(self, start: Tensor, patches: Tensor, copies: int) -> EncoderDecoderCache:
        """Return the patches' keys and values for every row, computed once a picture.

        Args:
            start: (pictures, 1), the first token.
            patches: (pictures, patches, D).
            copies: Rows of each picture, beams included.
        """
        decoder = self.network.text_decoder
        mask = torch.ones(patches.shape[:2], dtype=torch.long, device=patches.device)
        first = decoder(
            input_ids=start,
            encoder_hidden_states=patches,
            encoder_attention_mask=mask,
            use_cache=True,
            is_decoder=True,
        )
        seen = getattr(first, CACHE).cross_attention_cache
        seen.batch_repeat_interleave(copies)
        return EncoderDecoderCache(DynamicCache(config=decoder.config), seen)
