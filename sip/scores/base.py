"""What the scores stage produces: for each image how well its captions fit, as cosines.

The unit vectors behind the cosines are a stage of the store of their own, `embeddings`, for
originals and generated images alike: one row for each image, by the hash of its content.

A scorer has two parts: a component, which is cheap to build, and the module that its
`load` returns.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from sip.dataset.base import Sample
from sip.device.settings import Runtime

if TYPE_CHECKING:
    import numpy as np

    from sip.device.module import PredictionModule


@dataclass(frozen=True)
class ToScore:
    """An image whose captions are to be scored.

    Attributes:
        key: Key of the row.
        sample: The image.
        captions: Its candidates.
    """

    key: str
    sample: Sample
    captions: list[str]


@dataclass(frozen=True)
class ScoreRow:
    """The cosines of an image with its captions.

    Attributes:
        key: Key of the row.
        sample_id: Id of the image.
        captions: Its candidates.
        similarities: Cosine in [-1, 1] of each caption, to 4 decimals; none if the image failed.
        status: "ok" or "failed".
        error: Why it failed, in a line.
    """

    key: str
    sample_id: str
    captions: list[str]
    similarities: list[float]
    status: str
    error: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return the row as the store keeps it."""
        return dict(vars(self))


@dataclass(frozen=True, slots=True)
class ToEmbed:
    """An image that is to be embedded.

    Attributes:
        sha256: Hash of its content, the key of its row.
        path: Path of the file.
        file_sha256: Hash of the file, if it is a generated image.
    """

    sha256: str
    path: str
    file_sha256: str | None = None


@dataclass(frozen=True)
class EmbeddingRow:
    """The unit vector of an image.

    Attributes:
        key: Hash of the image's content.
        embedding: (D,), float32, of length 1; None if the image failed.
        status: "ok" or "failed".
        error: Why it failed, in a line.
    """

    key: str
    embedding: "np.ndarray | None"
    status: str
    error: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return the row as the store keeps it."""
        return {
            "key": self.key,
            "embedding": self.embedding,
            "status": self.status,
            "error": self.error,
        }


class Scorer(Protocol):
    """Measures the similarity of images and captions, each pair independently."""

    def recipe(self) -> dict[str, Any]:
        """Return everything that decides the scores."""

    def require(self) -> None:
        """Raise UserError if the weights cannot be had; may download them."""

    def load(self, runtime: Runtime) -> "PredictionModule":
        """Return a new module, with the weights on the device."""
