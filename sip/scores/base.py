"""What the scores room hands out: how well a caption fits its picture.

The unit vectors behind that are a room of the store by themselves, `embeddings`, for originals and
drawn pictures alike: a row a picture, by the hash of its content, made by the same recipe.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from sip.dataset.base import Sample

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


class Scorer(Protocol):
    """Measures the similarity of pictures and captions; no pair's depends on the others.

    `prepare` may run in background threads, beside `score`, once `load` is through.
    """

    def recipe(self) -> dict:
        """Return everything that decides the scores."""

    def require(self) -> None:
        """Raise UserError if the weights cannot be had; may download them."""

    def load(self, device: str) -> None:
        """Load the weights, if there are any; does nothing where they are on the device."""

    def clear(self) -> None:
        """Let go of the weights, and of their memory on the device; `load` brings them back."""

    def prepare(self, pictures: "Sequence[Image]") -> "Tensor":
        """Return what `score` needs to see of RGB pictures: a row each, on the CPU."""

    def score(
        self, samples: Sequence[Sample], captions: Sequence[Sequence[str]], pixels: "Tensor"
    ) -> list[list[float]]:
        """Return the cosine in [-1, 1] of each caption with its sample, to 4 decimals.

        Args:
            samples: As many as fit the device together.
            captions: Of each sample.
            pixels: What `prepare` made of their pictures.
        """

    def embed(self, pixels: "Tensor") -> "Tensor":
        """Return unit vectors (pictures, D), float32, on the CPU, of what `prepare` returned."""

    def embed_texts(self, texts: Sequence[str]) -> "Tensor":
        """Return unit vectors (texts, D), float32, on the CPU; of one text at least."""
