"""Types and protocol of the metrics stage: an `EmbeddedSet` in, one `MetricRow` a number out."""

from dataclasses import dataclass
from math import isfinite
from typing import Any, Protocol, runtime_checkable

import numpy as np

from sip.backbone.base import Backbone
from sip.core.errors import UserError

NORM_TOLERANCE = 1e-3  # of a unit vector from a float32 or bfloat16 model


@dataclass(frozen=True)
class EmbeddedSet:
    """A generated set as its scorer sees it: unit vectors of one space, float32 or float64.

    Attributes:
        generated: (N, D), the generated images; N >= 1.
        labels: (N,), int, the class that each is to show, in 0 .. C - 1.
        originals: (S, D), the real images that they were generated from.
        sources: (N,), int, row of `originals` of each generated image.
        label_texts: (C, D), a text for each class.
        caption_texts: (N, D), the caption of each image's original; None without captions.
        reference: (R, D), real images that nothing was generated from; None if there are none.
        reference_split: The part of the data set that they are of.

    Raises:
        ValueError: Shapes do not fit each other, or vectors are not of length 1.
    """

    generated: np.ndarray
    labels: np.ndarray
    originals: np.ndarray
    sources: np.ndarray
    label_texts: np.ndarray
    caption_texts: np.ndarray | None = None
    reference: np.ndarray | None = None
    reference_split: str = "val"

    def __post_init__(self) -> None:
        """Check shapes and lengths; NaN fails too."""
        num, width = self.generated.shape
        if num == 0:
            raise ValueError("generated: must be one image at least, got none")
        for name in ("generated", "originals", "label_texts", "caption_texts", "reference"):
            vectors = getattr(self, name)
            if vectors is None:
                continue
            if vectors.ndim != 2 or vectors.shape[1] != width:
                raise ValueError(f"{name}: must be (rows, {width}), got {vectors.shape}")
            norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
            if not np.all(np.abs(norms - 1) < NORM_TOLERANCE):
                raise ValueError(f"{name}: must be vectors of length 1, got {norms.tolist()[:3]}")
        for name, of in (("labels", self.label_texts), ("sources", self.originals)):
            rows = getattr(self, name)
            if rows.shape != (num,) or rows.min() < 0 or rows.max() >= len(of):
                raise ValueError(f"{name}: must be {num} numbers in 0 .. {len(of) - 1}")
        if self.caption_texts is not None and len(self.caption_texts) != num:
            raise ValueError(f"caption_texts: must be {num} rows, got {len(self.caption_texts)}")


@dataclass(frozen=True)
class FeatureSet:
    """A generated set and real images in the features of one network, of any length.

    Attributes:
        generated: (N, D), float32, the generated images.
        reference: (R, D), real images that nothing was generated from.
        reference_split: The part of the data set that they are of.
    """

    generated: np.ndarray
    reference: np.ndarray
    reference_split: str


@dataclass(frozen=True)
class MetricRow:
    """A number.

    Attributes:
        metric: Its name, such as "generated/vendi".
        value: The number.
        unit: What it counts, such as "cosine".
        higher_is_better: False if a lower one is.
        split: The part of the data set whose real images it is compared with.
        n: Number of generated images.
    """

    metric: str
    value: float
    unit: str
    higher_is_better: bool
    split: str
    n: int

    def __post_init__(self) -> None:
        """Refuse NaN and infinity, which no table can hold.

        Raises:
            UserError: The value is not finite.
        """
        if not isfinite(self.value):
            raise UserError(
                f"metrics: {self.metric} must be a finite number, got {self.value}; fix the metric"
            )


class Metric(Protocol):
    """A family of numbers about a generated set."""

    def measure(self, images: EmbeddedSet) -> list[MetricRow]:
        """Return its rows; those that this set is too small for are left out."""

    def recipe(self) -> dict[str, Any]:
        """Return everything that can change the numbers."""


@runtime_checkable
class FeatureMetric(Protocol):
    """A family of numbers about a generated set in the features of a network of its own."""

    @property
    def network(self) -> Backbone:
        """A pre-trained backbone."""

    def measure(self, images: FeatureSet) -> list[MetricRow]:
        """Return its rows; those that this set is too small for are left out."""

    def recipe(self) -> dict[str, Any]:
        """Return everything that can change the numbers."""
