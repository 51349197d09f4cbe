"""BLIP-2: captions by a large language model that reads the image as a prefix.

Source: Li et al., BLIP-2, ICML 2023 (arXiv 2301.12597), by transformers, with OPT. Captions are
sampled as BLIP's are.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sip.captions.vision_language import VisionLanguage, cache_name
from sip.core.component import refuse
from sip.weights.layout import CONFIG, read_json

if TYPE_CHECKING:
    from torch import Tensor


class Blip2(VisionLanguage):
    """A language model that reads the image as a prefix of a few tokens."""

    model_class: ClassVar[str] = "Blip2ForConditionalGeneration"
    processor_class: ClassVar[str] = "Blip2Processor"

    def read_network(self, device: str) -> Any:
        """Return a new model in evaluation mode, on the device.

        Raises:
            UserError: The language model is not a decoder.
        """
        network = super().read_network(device)
        if not network.config.use_decoder_only_language_model:
            kind = network.config.text_config.model_type
            raise refuse(
                "captions.model",
                "a BLIP-2 whose language model is a decoder, such as OPT",
                kind,
                "use Salesforce/blip2-opt-2.7b",
            )
        return network

    def num_places(self, folder: Path) -> int:
        """Return the tokens of the prefix."""
        return int(read_json(folder / CONFIG).get("num_query_tokens", 32)) + 1

    def generate(self, network: Any, pixels: "Tensor", **options: Any) -> "Tensor":
        """Return tokens (images * num_captions, length), int64, image by image."""
        import torch

        language: Any = network.language_model
        prefix = network.get_image_features(
            pixels.to(network.dtype), return_dict=True
        ).pooler_output
        mask = torch.ones(prefix.shape[:2], dtype=torch.long, device=prefix.device)
        read = language.base_model(inputs_embeds=prefix, attention_mask=mask, use_cache=True)
        rows, length = self.rows_per_image, prefix.shape[1]
        cache = getattr(read, cache_name())
        cache.batch_repeat_interleave(rows * options["num_beams"])
        # Only the last of these tokens is read: the cache replaces the rest.
        start = torch.full(
            (len(prefix) * rows, length + 1),
            network.config.text_config.bos_token_id,
            device=prefix.device,
        )
        tokens: Tensor = language.generate(
            input_ids=start,
            attention_mask=torch.ones_like(start),
            **{cache_name(): cache},
            **options,
        )
        return tokens[:, length + 1 :]
