"""CLIP measures how well a caption fits its picture: the cosine of their embeddings.

Source: Radford et al., CLIP, ICML 2021 (arXiv 2103.00020), by transformers. The augmentation
paper uses ViT-B/32.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPModel, CLIPProcessor

from sip.common.images import read_rgb
from sip.common.weights import load_transformer, require, weights_folder, weights_recipe
from sip.dataset.base import Sample

DECIMALS = 4  # beyond them a cosine depends on the machine


class Clip:
    """Cosines of pictures and captions.

    Args:
        model, revision: Folder or hub name, and the hub's revision.
        dtype: A torch type by name, of the embeddings; the cosine is always float32.
    """

    batch_size = 64  # pictures, and texts

    def __init__(self, model: str, revision: str | None, dtype: str) -> None:
        self.model, self.revision, self.dtype = model, revision, dtype

    def recipe(self) -> dict:
        """Return everything that decides the scores."""
        return {
            "class": "sip.scores.clip.Clip",
            "version": 1,
            "dtype": self.dtype,
            "weights": weights_recipe(self.model, self.revision),
        }

    def require(self) -> None:
        """Check that the weights are on this disk, without network.

        Raises:
            UserError: They are not.
        """
        require(self.model, self.revision)

    def load(self, device: str) -> None:
        """Load the weights and the processor."""
        source = weights_folder(self.model, self.revision)
        # Pillow's resize, as in CLIP's own code; torchvision's rounds in another way.
        self.processor = CLIPProcessor.from_pretrained(source, backend="pil")
        self.clip = load_transformer(CLIPModel, self.model, self.revision, self.dtype, device)

    @torch.inference_mode()
    def score(
        self, samples: Sequence[Sample], captions: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """Return the cosine in [-1, 1] of each caption with its sample, to 4 decimals.

        A caption longer than the model's context is cut.

        Raises:
            ValueError: A picture cannot be read.
        """
        scores: list[list[float]] = []
        for start in range(0, len(samples), self.batch_size):
            batch = slice(start, start + self.batch_size)
            scores += self._score_batch(samples[batch], captions[batch])
        return scores

    def _score_batch(
        self, samples: Sequence[Sample], captions: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        texts = [text for row in captions for text in row]
        rows = [row for row, of_row in enumerate(captions) for _ in of_row]
        if not texts:
            return [[] for _ in samples]
        embedded = [
            self._embed_texts(texts[start : start + self.batch_size])
            for start in range(0, len(texts), self.batch_size)
        ]
        cosines = (torch.cat(embedded) * self._embed_pictures(samples)[rows]).sum(-1).tolist()
        scores: list[list[float]] = [[] for _ in samples]
        for row, cosine in zip(rows, cosines, strict=True):
            scores[row].append(round(cosine, DECIMALS))
        return scores

    def _embed_pictures(self, samples: Sequence[Sample]) -> Tensor:
        """Return unit vectors (pictures, D), float32."""
        pictures = [read_rgb(sample.path, None) for sample in samples]
        pixels = self.processor.image_processor(images=pictures, return_tensors="pt").pixel_values
        output = self.clip.get_image_features(pixels.to(self.clip.device, self.clip.dtype))
        return F.normalize(output.pooler_output.float(), dim=-1)

    def _embed_texts(self, texts: list[str]) -> Tensor:
        """Return unit vectors (texts, D), float32."""
        text: Any = self.clip.config.text_config
        # Always padded to the full context, as in CLIP's own code, so that a text is computed in
        # the same way beside long texts and short ones.
        tokens = self.processor.tokenizer(
            texts,
            padding="max_length",
            truncation=True,
            max_length=text.max_position_embeddings,
            return_tensors="pt",
        ).to(self.clip.device)
        output = self.clip.get_text_features(tokens.input_ids, tokens.attention_mask)
        return F.normalize(output.pooler_output.float(), dim=-1)
