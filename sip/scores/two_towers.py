"""What scorers with a tower for pictures and one for texts share: the cosine of what they say."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor

from sip.dataset.base import Sample
from sip.weights.pretrained import Pretrained, check_dtype

DECIMALS = 4  # beyond them a cosine depends on the machine
MAX_TEXTS = 256  # embedded at a time


class TwoTowers(Pretrained):
    """Cosines of pictures and captions.

    Args:
        model, revision: Folder or hub name, and the hub's revision.
        dtype: "float32", "bfloat16" or "float16", of the embeddings; the cosine is always float32.
    """

    def __init__(self, model: str, revision: str | None, dtype: str) -> None:
        check_dtype("scores.dtype", dtype)
        self.model, self.revision, self.dtype = model, revision, dtype

    def recipe(self) -> dict:
        """Return everything that decides the scores."""
        return {
            "class": f"{type(self).__module__}.{type(self).__name__}",
            "version": 1,
            "dtype": self.dtype,
            "weights": self.weights,
        }

    def prepare(self, pictures: Sequence[Image]) -> Tensor:
        """Return RGB pictures of any size as (pictures, 3, H, W), float32, as the model sees them.

        Safe in several threads at once.
        """
        return self.processor.image_processor(
            images=list(pictures), return_tensors="pt"
        ).pixel_values

    @torch.inference_mode()
    def score(
        self, samples: Sequence[Sample], captions: Sequence[Sequence[str]], pixels: Tensor
    ) -> list[list[float]]:
        """Return the cosine in [-1, 1] of each caption with its sample, to 4 decimals.

        A caption longer than the model's context is cut.

        Args:
            samples: One batch of the device.
            captions: Of each sample.
            pixels: (samples, 3, H, W), of `prepare`.
        """
        rows = [row for row, of_row in enumerate(captions) for _ in of_row]
        scores: list[list[float]] = [[] for _ in samples]
        if not rows:
            return scores
        texts = [text for of_row in captions for text in of_row]
        numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        embedded = self._unit_texts(list(numbers))[[numbers[text] for text in texts]]
        cosines = (embedded * self._unit_pictures(pixels)[rows]).sum(-1).tolist()
        for row, cosine in zip(rows, cosines, strict=True):
            scores[row].append(round(cosine, DECIMALS))
        return scores

    @torch.inference_mode()
    def embed(self, pixels: Tensor) -> Tensor:
        """Return unit vectors (pictures, D), float32, on the CPU.

        Args:
            pixels: (pictures, 3, H, W), of `prepare`.
        """
        return self._unit_pictures(pixels).cpu()

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors (texts, D), float32, on the CPU; there is one text at least."""
        return self._unit_texts(list(texts)).cpu()

    def _unit_pictures(self, pixels: Tensor) -> Tensor:
        """Return unit vectors (pictures, D), float32."""
        seen = pixels.to(self.network.device, self.network.dtype, non_blocking=True)
        return F.normalize(self.network.get_image_features(seen).pooler_output.float(), dim=-1)

    def _unit_texts(self, texts: list[str]) -> Tensor:
        """Return unit vectors (texts, D), float32; a bounded number is computed at a time."""
        embedded = [
            self._embed_texts(texts[start : start + MAX_TEXTS])
            for start in range(0, len(texts), MAX_TEXTS)
        ]
        return F.normalize(torch.cat(embedded).float(), dim=-1)

    @abstractmethod
    def _embed_texts(self, texts: list[str]) -> Tensor:
        """Return the embeddings (texts, D) of one batch."""
