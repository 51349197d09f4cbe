"""Row type and protocol of the prompts stage: the prompt list, one `Prompt` an image to generate.

All choices are made here and recorded; the images stage only generates.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, Protocol, Self

from sip.core.errors import UserError
from sip.core.hashing import digest
from sip.core.shapes import Size
from sip.dataset.base import Sample


# With slots, since a prompt list may hold millions of prompts.
@dataclass(frozen=True, slots=True)
class Span:
    """A part of a prompt with its weight (1 is plain text)."""

    text: str
    weight: float


def span_pairs(spans: Iterable[Span]) -> list[list[str | float]]:
    """Return spans as JSON keeps them: [[text, weight], ...]."""
    return [[span.text, span.weight] for span in spans]


@dataclass(frozen=True, slots=True)
class Companion:
    """An image that belongs to an original: its mask, or its condition.

    Attributes:
        key: Decides the pixels: hash of the content, or of what a model is asked.
        path: Its file; None if a model makes it.
        text: What a model is asked for; None if it is a file.
    """

    key: str
    path: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class SourceClass:
    """The class of the original of an image that is to show another one.

    Attributes:
        label, class_name: The class of the original.
        label_share: Share in [0, 1] of the shown class in the label to train with; the rest is
            this class's.

    Raises:
        UserError: The share is out of its range.
    """

    label: int
    class_name: str
    label_share: float

    def to_dict(self) -> dict[str, Any]:
        """Return the values under the names that records and exports have for them."""
        return {
            "source_label": self.label,
            "source_class_name": self.class_name,
            "label_share": self.label_share,
        }

    def __post_init__(self) -> None:
        """Check the share; NaN fails too."""
        if not 0 <= self.label_share <= 1:
            raise UserError(
                f"prompts: label_share of an image from class {self.class_name} must be in "
                f"[0, 1], got {self.label_share}; fix the prompt writer"
            )


@dataclass(frozen=True, slots=True)
class Prompt:
    """An image to generate.

    Attributes:
        sample_id, source, source_sha256: The original.
        label, class_name: The class that the image is to show: its original's, unless
            `source_class` says that this is another one.
        variant: 0, 1, ...: number of the image among those generated from this original.
        spans: The prompt in order, with weights.
        negative_prompt: Stands for "no text" in classifier-free guidance.
        guidance_scale: Guidance scale of this image; 1 and below means no guidance.
        noise_rate: Share of the noise schedule run, in [0, 1]; diffusers calls it `strength`.
        seed: Seed of this image's noise; the same for all noise rates and guidance scales.
        caption, similarity: The kept caption and its cosine, for the record; None if not read.
        mask: Which part of the original is marked; None if nothing reads it.
        source_class: The class of the original and the share of the label, of an image that is to
            show another class; None: it is to show its original's. It is not in `image_id`, since
            it does not change the pixels.
        source_size: Size of the original, for generators that keep its aspect ratio; else None.
        condition: What a ControlNet reads of the original, if it is a file; else None.
        extra_key: Hash of what else decides the pixels, such as the class of an image that is
            retrieved; None: nothing else does.
        image_id: The key of the generated image: a hash of everything that decides its pixels.

    Raises:
        UserError: A number is NaN or infinite, or the noise rate is out of its range.
    """

    sample_id: str
    source: str
    source_sha256: str
    label: int
    class_name: str
    variant: int
    spans: tuple[Span, ...]
    negative_prompt: str
    guidance_scale: float
    noise_rate: float
    seed: int
    caption: str | None
    similarity: float | None
    mask: Companion | None = None
    source_class: SourceClass | None = None
    source_size: Size | None = None
    condition: Companion | None = None
    extra_key: str | None = None
    image_id: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the numbers and compute the key."""
        if not isfinite(self.guidance_scale):
            raise self._refused("guidance_scale", "a finite number", self.guidance_scale)
        if not 0 <= self.noise_rate <= 1:  # NaN fails too
            raise self._refused("noise_rate", "in [0, 1]", self.noise_rate)
        if self.similarity is not None and not isfinite(self.similarity):
            raise self._refused("similarity", "a finite number", self.similarity)
        for span in self.spans:
            if not isfinite(span.weight):
                raise self._refused(f"weight of {span.text!r}", "a finite number", span.weight)
        key = digest(
            self.source_sha256,
            span_pairs(self.spans),
            self.negative_prompt,
            self.guidance_scale,
            self.noise_rate,
            self.seed,
            *(() if self.mask is None else [self.mask.key]),
            *(() if self.source_size is None else [list(self.source_size)]),
            *(() if self.condition is None else ["condition", self.condition.key]),
            *(() if self.extra_key is None else ["extra", self.extra_key]),
        )
        object.__setattr__(self, "image_id", key[:24])

    @classmethod
    def of(cls, sample: Sample, variant: int, **values: Any) -> Self:
        """Return the prompt of an original, with the other attributes as given."""
        return cls(
            sample_id=sample.sample_id,
            source=sample.path,
            source_sha256=sample.sha256,
            label=sample.label,
            class_name=sample.class_name,
            variant=variant,
            **values,
        )

    def towards(self, label: int, class_name: str, label_share: float) -> Self:
        """Return the same prompt for an image that is to show a class, its own or another one.

        Args:
            label, class_name: The class.
            label_share: As in `SourceClass`; not used if the class is that of the original.
        """
        if label == self.label:
            return self
        source = SourceClass(self.label, self.class_name, label_share)
        return replace(self, label=label, class_name=class_name, source_class=source)

    def _refused(self, name: str, rule: str, value: float) -> UserError:
        return UserError(
            f"prompts: {name} of {self.sample_id} must be {rule}, got {value}; "
            "fix the prompt writer or the stage before it"
        )

    @property
    def text(self) -> str:
        """The prompt as one string."""
        return "".join(span.text for span in self.spans)


@dataclass(frozen=True)
class Backoff:
    """How an image that is rejected is generated again, with less noise.

    Attributes:
        rates: Noise rates, falling; the first one is that of the prompt list.
        verdict: The filter that accepts or rejects an image; it judges each by itself.
        learn: Originals of each class from which the start of its others is learned; None: all
            start at the first rate.
        min_acceptance: The start is the highest rate with a mean acceptance above it, in (0, 1).
    """

    rates: tuple[float, ...]
    verdict: Any
    learn: int | None = None
    min_acceptance: float = 0.5

    def rungs(self, prompt: Prompt) -> list[Prompt]:
        """Return the prompt at its own noise rate and at each lower one, with a key each."""
        lower = [rate for rate in self.rates if rate < prompt.noise_rate]
        return [prompt, *(replace(prompt, noise_rate=rate) for rate in lower)]


class PromptWriter(Protocol):
    """Makes the prompt list from samples, and from captions and similarities if it reads them."""

    @property
    def noise_rates(self) -> tuple[float, ...]:
        """The lowest and the highest noise rate that a prompt can have, in (0, 1]."""

    @property
    def mixes_classes(self) -> bool:
        """Whether images may be to show another class than their original's."""

    @property
    def reads(self) -> frozenset[str]:
        """Stages that it reads, of {"captions", "scores"}."""

    @property
    def backoff(self) -> Backoff | None:
        """How rejected images are generated again; None if each is generated once."""

    def recipe(self) -> dict:
        """Return everything that decides the prompt list."""

    def check(self, samples: Sequence[Sample]) -> None:
        """Check the originals of a whole run, before captions are made.

        Raises:
            UserError: Prompts cannot be written for them.
        """

    def counts(self, samples: Sequence[Sample]) -> dict[str, int] | None:
        """Return sample_id -> number of its images; None if `images.per_sample` says it."""

    def write(
        self,
        samples: Sequence[Sample],
        captions: Sequence[Sequence[str]] | None,
        similarities: Sequence[Sequence[float]] | None,
        per_sample: int,
    ) -> Sequence[Prompt]:
        """Return `per_sample` prompts a sample, in the order of the samples."""


def ranked_captions(
    sample: Sample, captions: Sequence[str], similarities: Sequence[float]
) -> list[tuple[str, float]]:
    """Return the different captions with their cosines, the highest first; of equals the first.

    Raises:
        ValueError: There is no caption, or a caption has no similarity.
        UserError: A similarity is NaN or infinite.
    """
    if not captions or len(captions) != len(similarities):
        raise ValueError(
            f"{sample.sample_id}: expected captions with a similarity each, got {len(captions)} "
            f"captions and {len(similarities)} similarities"
        )
    if bad := [value for value in similarities if not isfinite(value)]:
        raise UserError(
            f"scores: similarities of {sample.sample_id} must be finite numbers, got {bad[0]}; "
            "fix the scorer"
        )
    order = sorted(range(len(captions)), key=lambda index: -similarities[index])
    ranked: dict[str, float] = {}
    for index in order:
        ranked.setdefault(captions[index], similarities[index])
    return list(ranked.items())
