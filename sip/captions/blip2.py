"""BLIP-2 writes what it sees with a large language model that is told of the picture first.

Source: Li et al., BLIP-2, ICML 2023 (arXiv 2301.12597), by transformers, with OPT. Captions are
drawn as BLIP's are.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import Blip2ForConditionalGeneration, Blip2Processor

from sip.captions.vision_language import CACHE, VisionLanguage
from sip.core.errors import UserError


class Blip2(VisionLanguage):
    """A language model that reads the picture as a prefix of a few tokens."""

    model_class = Blip2ForConditionalGeneration
    processor_class = Blip2Processor

    def load(self, device: str) -> None:
        """Load the weights and the processor, once; with another device, move them there.

        Raises:
            UserError: The language model is not a decoder.
        """
        super().load(device)
        if not self.network.config.use_decoder_only_language_model:
            kind = self.network.config.text_config.model_type
            self.clear()
            raise UserError(
                f"captions.model: expected a BLIP-2 with a decoder (such as OPT) as its language "
                f"model, {self.model} has {kind!r}; use Salesforce/blip2-opt-2.7b"
            )

    def _generate(self, pixels: Tensor, **options: Any) -> Tensor:
        """Return tokens (pictures * num_captions, length), int64, picture by picture."""
        language: Any = self.network.language_model
        prefix = self.network.get_image_features(pixels, return_dict=True).pooler_output
        mask = torch.ones(prefix.shape[:2], dtype=torch.long, device=prefix.device)
        read = language.base_model(inputs_embeds=prefix, attention_mask=mask, use_cache=True)
        rows, length = self.rows_of_a_picture, prefix.shape[1]
        known = getattr(read, CACHE)
        known.batch_repeat_interleave(rows * options["num_beams"])
        # Of these tokens only the last is read: the cache stands for the others.
        start = torch.full(
            (len(prefix) * rows, length + 1),
            self.network.config.text_config.bos_token_id,
            device=prefix.device,
        )
        tokens = language.generate(
            input_ids=start,
            attention_mask=torch.ones_like(start),
            **{CACHE: known},
            **options,
        )
        return tokens[:, length + 1 :]
