"""CLIP measures how well a caption fits its image: the cosine of their embeddings.

Source: Radford et al., CLIP, ICML 2021 (arXiv 2103.00020), by transformers. The augmentation
paper uses ViT-B/32.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sip.scores.two_towers import TwoTowers

if TYPE_CHECKING:
    from torch import Tensor

LENGTH_STEP = 8  # tokens


class Clip(TwoTowers):
    """Cosines of images and captions."""

    model_class: ClassVar[str] = "CLIPModel"

    def encode_texts(self, network: Any, tokenizer: Any, texts: list[str]) -> "Tensor":
        """Return the embeddings (texts, D) of one batch.

        CLIP's own code pads to the full context (77 tokens), though what follows the end of a text
        has no part in its embedding. Here a text is padded to the next multiple of `LENGTH_STEP`:
        its own length decides, so that it is computed in the same way next to long texts and short
        ones.
        """
        import torch

        context = network.config.text_config.max_position_embeddings
        tokens = tokenizer(texts, truncation=True, max_length=context).input_ids
        by_length: dict[int, list[int]] = {}
        for row, of_row in enumerate(tokens):
            length = min(-(-len(of_row) // LENGTH_STEP) * LENGTH_STEP, context)
            by_length.setdefault(length, []).append(row)
        order = [row for rows in by_length.values() for row in rows]
        encoded = [
            _encode_tokens(network, tokenizer, [tokens[row] for row in rows], length)
            for length, rows in by_length.items()
        ]
        return torch.cat(encoded)[torch.tensor(order).argsort().to(encoded[0].device)]

    def _processor(self, folder: Path) -> Any:
        from transformers import CLIPProcessor

        # Pillow's resize, as in CLIP's own code; torchvision's rounds in another way.
        return CLIPProcessor.from_pretrained(folder, backend="pil")


def _encode_tokens(network: Any, tokenizer: Any, tokens: list[list[int]], length: int) -> "Tensor":
    padded = tokenizer.pad(
        {"input_ids": tokens}, padding="max_length", max_length=length, return_tensors="pt"
    ).to(network.device)
    features: Tensor = network.get_text_features(
        padded.input_ids, padded.attention_mask
    ).pooler_output
    return features
