"""A loaded scorer as LightningModules: one that scores captions, one that embeds images."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor, nn

from sip.device.batches import ImageBatch
from sip.device.module import PredictionModule
from sip.device.precision import full_float32
from sip.scores.base import EmbeddingRow, ScoreRow, ToEmbed, ToScore

DECIMALS = 4  # beyond them a cosine depends on the machine
MAX_TEXTS = 256  # embedded at a time
REMEDY = "scores.dtype=bfloat16 or another model"


class ScoreModule(PredictionModule):
    """Makes rows of scores.

    Args:
        prepare: Returns (images, 3, H, W), float32, on the CPU, of RGB images of any size; it is
            called in several threads at once, while the device is at work.
        encode_images: Returns (images, D) of what `prepare` returned, on the device.
        encode_texts: Returns (texts, D), on the device; a text too long for the model is cut.
        network: The weights, on the device.
    """

    def __init__(
        self,
        prepare: Callable[[Sequence[Image]], Tensor],
        encode_images: Callable[[Tensor], Tensor],
        encode_texts: Callable[[list[str]], Tensor],
        network: nn.Module | None = None,
    ) -> None:
        super().__init__("scores", REMEDY)
        self.prepare = prepare
        self.encode_images, self.encode_texts = encode_images, encode_texts
        self.network = network
        self.requires_grad_(False)

    def rows(self, batch: ImageBatch[ToScore]) -> list[ScoreRow]:
        """Return a row for each image."""
        captions = [item.captions for item in batch.readable]
        pixels = cast("Tensor | None", batch.pixels)  # what `prepare` returned
        scores = iter([] if pixels is None else self.score(captions, pixels))
        return [
            _score_row(item, next(scores) if error is None else [], error)
            for item, error in zip(batch.items, batch.errors, strict=True)
        ]

    @torch.inference_mode()
    def score(self, captions: Sequence[Sequence[str]], pixels: Tensor) -> list[list[float]]:
        """Return the cosine in [-1, 1] of each caption with its image, to 4 decimals.

        Args:
            captions: Captions of each image.
            pixels: (images, 3, H, W), as prepared, on the device.
        """
        rows = [row for row, candidates in enumerate(captions) for _ in candidates]
        scores: list[list[float]] = [[] for _ in captions]
        if not rows:
            return scores
        texts = [text for candidates in captions for text in candidates]
        numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        of_texts = self.unit_texts(list(numbers))[[numbers[text] for text in texts]]
        cosines = (of_texts * self.unit_images(pixels)[rows]).sum(-1).tolist()
        for row, cosine in zip(rows, cosines, strict=True):
            scores[row].append(round(cosine, DECIMALS))
        return scores

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors (texts, D), float32, on the CPU, of at least one text."""
        return self.unit_texts(list(texts)).cpu()

    def unit_images(self, pixels: Tensor) -> Tensor:
        """Return unit vectors (images, D), float32, on the device."""
        with full_float32():
            return F.normalize(self.encode_images(pixels).float(), dim=-1)

    def unit_texts(self, texts: list[str]) -> Tensor:
        """Return unit vectors (texts, D), float32, on the device; in bounded slices."""
        with full_float32():
            encoded = [
                self.encode_texts(texts[start : start + MAX_TEXTS])
                for start in range(0, len(texts), MAX_TEXTS)
            ]
        return F.normalize(torch.cat(encoded).float(), dim=-1)


class EmbeddingModule(PredictionModule):
    """Makes rows of unit vectors of images.

    Args:
        scorer: The loaded scorer; its weights are shared.
    """

    def __init__(self, scorer: ScoreModule) -> None:
        super().__init__("embeddings", REMEDY)
        self.scorer = scorer

    def prepare(self, images: Sequence[Image]) -> Tensor:
        """Return what the scorer's `prepare` does."""
        return self.scorer.prepare(images)

    @torch.inference_mode()
    def rows(self, batch: ImageBatch[ToEmbed]) -> list[EmbeddingRow]:
        """Return a row for each image."""
        vectors: Any = iter(())
        if batch.pixels is not None:
            pixels = cast("Tensor", batch.pixels)  # what `prepare` returned
            vectors = iter(self.scorer.unit_images(pixels).cpu().numpy())
        return [
            EmbeddingRow(item.sha256, next(vectors), "ok", None)
            if error is None
            else EmbeddingRow(item.sha256, None, "failed", error)
            for item, error in zip(batch.items, batch.errors, strict=True)
        ]


def _score_row(item: ToScore, similarities: list[float], error: str | None) -> ScoreRow:
    return ScoreRow(
        key=item.key,
        sample_id=item.sample.sample_id,
        captions=item.captions,
        similarities=similarities,
        status="failed" if error else "ok",
        error=error,
    )
