"""BLIP: nucleus samples, or the best beams.

Source: Li et al., BLIP, ICML 2022 (arXiv 2201.12086), by transformers. The augmentation paper
samples with p = 0.9 or takes 3 beams.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sip.captions.vision_language import VisionLanguage, cache_name
from sip.weights.layout import CONFIG, read_json

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import EncoderDecoderCache


class Blip(VisionLanguage):
    """A decoder that attends to the patches of the image at every token."""

    model_class: ClassVar[str] = "BlipForConditionalGeneration"
    processor_class: ClassVar[str] = "BlipProcessor"

    def num_places(self, folder: Path) -> int:
        """Return the patches of an image, with the one for the whole."""
        vision = read_json(folder / CONFIG).get("vision_config") or {}
        return (vision.get("image_size", 384) // vision.get("patch_size", 16)) ** 2 + 1

    def generate(self, network: Any, pixels: "Tensor", **options: Any) -> "Tensor":
        """Return tokens (images * num_captions, length), int64, image by image."""
        import torch

        pixels = pixels.to(network.dtype)
        decoder, text = network.text_decoder, network.config.text_config
        patches = network.vision_model(pixel_values=pixels).last_hidden_state
        start = torch.full((len(patches), 1), text.bos_token_id, device=patches.device)
        rows = self.rows_per_image
        # `generate` asks for the patches themselves too, though it has their keys and values.
        copied = patches.repeat_interleave(rows, dim=0)
        mask = torch.ones(copied.shape[:2], dtype=torch.long, device=copied.device)
        cache = _encoded_once(decoder, start, patches, rows * options["num_beams"])
        return decoder.generate(
            input_ids=start.repeat_interleave(rows, dim=0),
            encoder_hidden_states=copied,
            encoder_attention_mask=mask,
            eos_token_id=text.sep_token_id,
            pad_token_id=text.pad_token_id,
            **{cache_name(): cache},
            **options,
        )


def _encoded_once(
    decoder: Any, start: "Tensor", patches: "Tensor", copies: int
) -> "EncoderDecoderCache":
    """Return the keys and values of the patches for every row, computed once for each image.

    Args:
        decoder: The language model.
        start: (images, 1), the first token.
        patches: (images, patches, D).
        copies: Rows of each image, beams included.
    """
    import torch
    from transformers import DynamicCache, EncoderDecoderCache

    mask = torch.ones(patches.shape[:2], dtype=torch.long, device=patches.device)
    first = decoder(
        input_ids=start,
        encoder_hidden_states=patches,
        encoder_attention_mask=mask,
        use_cache=True,
        is_decoder=True,
    )
    cache = getattr(first, cache_name()).cross_attention_cache
    cache.batch_repeat_interleave(copies)
    return EncoderDecoderCache(DynamicCache(config=decoder.config), cache)
