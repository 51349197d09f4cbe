"""Row types and protocol of the filter stage: one `Verdict` a generated image.

A verdict may depend on the other images (the best share of a class, copies), so it is no row of
the store: it is computed again from stored rows, which takes seconds.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import numpy as np

from sip.core.component import Component, component
from sip.core.errors import UserError
from sip.core.templates import cut

DECIMALS = 4  # of cosines; beyond them they depend on the machine


@dataclass(frozen=True, slots=True)
class Candidate:
    """A generated image to judge.

    Attributes:
        image_id, label, class_name: As in the prompt of the generated image: the class is the one
            that it is to show.
        sample_id: Id of its original.
        path, sha256: Its file and the hash of that.
        source, source_sha256: The same of its original.
        source_label: Class of its original; None: it is `label`.
    """

    image_id: str
    sample_id: str
    label: int
    class_name: str
    path: str
    sha256: str
    source: str
    source_sha256: str
    source_label: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an image is kept.

    Attributes:
        reason: Why it was rejected, a few words to count by; None: it is kept.
        detail: The same with numbers, in a line for people.
        probability: Probability of the label, in [0, 1]; None if the filter gives none.
    """

    reason: str | None = None
    detail: str | None = None
    probability: float | None = None


KEPT = Verdict()


@dataclass(frozen=True)
class FilterCounts:
    """How many images a filter kept and rejected.

    Attributes:
        reasons: Reason -> rejected images, the most frequent first.
    """

    kept: int
    rejected: int
    reasons: Mapping[str, int]

    @classmethod
    def of(cls, verdicts: Sequence[Verdict]) -> Self:
        """Count verdicts."""
        reasons = Counter(one.reason for one in verdicts if one.reason is not None)
        rejected = reasons.total()
        return cls(len(verdicts) - rejected, rejected, dict(reasons.most_common()))

    @property
    def reasons_text(self) -> str:
        """The reasons in one line; "" if no image was rejected."""
        return ", ".join(f"{num:,} {reason}" for reason, num in self.reasons.items())

    def line(self) -> str:
        """Return the counts in one line."""
        text = f"{self.kept:,} of {self.kept + self.rejected:,} generated images kept"
        return f"{text}; rejected: {self.reasons_text}" if self.rejected else text


class Facts(Protocol):
    """What a filter may ask for, as its `reads` says."""

    @property
    def class_names(self) -> Sequence[str]:
        """The classes in words, by label."""

    @property
    def num_threads(self) -> int:
        """Threads that read images."""

    def embeddings(self, keys: Sequence[str]) -> np.ndarray:
        """Return the scorer's unit vectors, (N, D), float32, of images by their hash."""

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return the scorer's unit vectors, (N, D), float32, of texts."""

    def control(self, paths: Sequence[str]) -> np.ndarray:
        """Return the probabilities, (N, classes), float32, by a classifier of the originals."""


class Filter(Protocol):
    """Judges generated images before they join the training.

    Attributes:
        filters: False: no image is ever rejected, and the stage is skipped.
    """

    filters: ClassVar[bool]

    @property
    def reads(self) -> frozenset[str]:
        """Facts that it needs: "embeddings", "control" or both."""

    @property
    def single(self) -> bool:
        """Whether the verdict on an image depends on no other image."""

    @property
    def gives_probability(self) -> bool:
        """Whether its verdicts have a probability."""

    def recipe(self) -> dict:
        """Return everything that decides the verdicts, except what it reads."""

    def check(self, per_sample: int) -> None:
        """Raise `UserError` if it cannot work with so many images of each original."""

    def judge(self, images: Sequence[Candidate], facts: Facts) -> list[Verdict]:
        """Return a verdict on each image, in their order."""


def require_finite(values: np.ndarray, names: Sequence[str], what: str) -> np.ndarray:
    """Return values (N, D) of N images.

    Args:
        values: As `Facts` returns them.
        names: Names of the images, for the message.
        what: Name of the values, for the message.

    Raises:
        UserError: One is NaN or infinite: comparisons with it mean nothing.
    """
    for row in np.flatnonzero(~np.isfinite(values).all(axis=1))[:1]:
        bad = values[row][~np.isfinite(values[row])][0]
        raise UserError(
            f"filter: {what} of {names[row]} must be finite numbers, got {bad}; check the model "
            "that they are from"
        )
    return values


@component
class ImageFilter(Component):
    """Base of the filters of this package."""

    filters: ClassVar[bool] = True

    @property
    def reads(self) -> frozenset[str]:
        """Needs embeddings, as most filters do."""
        return frozenset({"embeddings"})

    @property
    def single(self) -> bool:
        """Images are compared with each other, as in most filters."""
        return False

    @property
    def gives_probability(self) -> bool:
        """Verdicts have no probability, as of most filters."""
        return False

    def check(self, per_sample: int) -> None:
        """Accept any number of images of each original."""

    def vectors(self, keys: Sequence[str], facts: Facts) -> np.ndarray:
        """Return the scorer's unit vectors, (N, D), of images by their hash.

        Raises:
            UserError: One is not finite.
        """
        return require_finite(facts.embeddings(keys), [key[:12] for key in keys], "embeddings")


@component
class LabelFilter(ImageFilter):
    """Compares images with the prompts of the classes.

    Args:
        template: A class's prompt, with the field `{label}`.
    """

    template: str

    def __post_init__(self) -> None:
        """Refuse a template with another field than `{label}`, or without it."""
        cut("template", self.template, ("label",), needed=("label",))

    def prompts(self, class_names: Sequence[str]) -> list[str]:
        """Return the prompt of each class."""
        return [self.template.format(label=name) for name in class_names]
