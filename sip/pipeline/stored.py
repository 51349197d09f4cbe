"""A generated image as training, tables and sheets see it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from sip.core.spill import ByKey, Joined, KeyNumbers
from sip.dataset.base import Sample
from sip.images.base import ImageRow
from sip.prompts.base import Prompt

Candidates = tuple[tuple[str, float], ...]  # captions with their cosines


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A generated image with its provenance.

    Attributes:
        prompt: What it was generated from.
        row: Its row in the store.
        candidates: The captions that its original could have had.
        probability: Probability of its label by the last verdict that gives one; None if none does.
        kind, unread: As of its generator: what it is, and what of the prompt plays no part in it.
    """

    prompt: Prompt
    row: ImageRow
    candidates: Candidates = ()
    probability: float | None = None
    kind: str = "generated"
    unread: frozenset[str] = frozenset()

    @property
    def is_ok(self) -> bool:
        """Whether it neither failed nor was rejected."""
        return self.row.status == "ok"

    def fact(self, name: str) -> Any:
        """Return a fact of the prompt, such as "noise_rate"; None if it plays no part."""
        return None if name in self.unread else getattr(self.prompt, name)

    @property
    def file(self) -> str:
        """Path of its file; it must not have failed."""
        assert self.row.file is not None
        return self.row.file


def spent(images: Iterable[StoredImage]) -> tuple[int, float]:
    """Return U-Net evaluations and device time in s of images, whichever run generated them.

    An original that is there twice has the same images, which were generated once.
    """
    seen, evaluations, seconds = KeyNumbers(), 0, 0.0
    for image in images:
        if seen.put(image.prompt.image_id, 1) is None:
            evaluations += image.row.unet_evaluations
            seconds += image.row.seconds
    return evaluations, seconds


def candidates(
    samples: Sequence[Sample],
    captions: Sequence[Sequence[str]] | None,
    scores: Sequence[Sequence[float]] | None,
) -> Mapping[str, Candidates]:
    """Return sample_id -> captions with their cosines; empty where they were not scored."""
    if not captions or not scores:
        return {}
    rows = Joined(_pairs, captions, scores)
    return ByKey(Joined(attrgetter("sample_id"), samples), rows)


def _pairs(captions: Sequence[str], cosines: Sequence[float]) -> Candidates:
    return tuple(zip(captions, cosines, strict=True))
