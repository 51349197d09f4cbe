"""CLIP measures how well a caption fits its picture: the cosine of their embeddings.

Source: Radford et al., CLIP, ICML 2021 (arXiv 2103.00020), by transformers. The augmentation
paper uses ViT-B/32.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPModel, CLIPProcessor

from sip.scores.two_towers import TwoTowers

LENGTH_STEP = 8  # tokens


class Clip(TwoTowers):
    """Cosines of pictures and captions."""

    model_class = CLIPModel

    def _load_processor(self, folder: Path) -> Any:
        # Pillow's resize, as in CLIP's own code; torchvision's rounds in another way.
        return CLIPProcessor.from_pretrained(folder, backend="pil")

    def _embed_texts(self, texts: list[str]) -> Tensor:
        """Return the embeddings (texts, D) of one batch.

        CLIP's own code pads to the full context (77 tokens), though what follows a text's end has
        no part in its embedding. Here a text is padded to the next multiple of `LENGTH_STEP`: its
        own length decides, so it is computed in the same way beside long texts and short ones.
        """
        context = self.network.config.text_config.max_position_embeddings
        tokens = self.processor.tokenizer(texts, truncation=True, max_length=context).input_ids
        by_length: dict[int, list[int]] = {}
        for row, of_row in enumerate(tokens):
            length = min(-(-len(of_row) // LENGTH_STEP) * LENGTH_STEP, context)
            by_length.setdefault(length, []).append(row)
        order = [row for rows in by_length.values() for row in rows]
        embedded = [
            self._embed_tokens([tokens[row] for row in rows], length)
            for length, rows in by_length.items()
        ]
        return torch.cat(embedded)[torch.tensor(order).argsort().to(embedded[0].device)]

    def _embed_tokens(self, tokens: list[list[int]], length: int) -> Tensor:
        padded = self.processor.tokenizer.pad(
            {"input_ids": tokens}, padding="max_length", max_length=length, return_tensors="pt"
        ).to(self.network.device)
        output = self.network.get_text_features(padded.input_ids, padded.attention_mask)
        return output.pooler_output
