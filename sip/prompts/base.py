"""What the prompts room hands out: the drawing list, one `Prompt` a picture to draw.

Every choice is made here and written down; the images room only draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sip.core.errors import UserError
from sip.core.hashing import digest, seed_of
from sip.dataset.base import Sample


# With slots, since a drawing list may hold millions of prompts.
@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a prompt with its weight (1 is plain text)."""

    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class Prompt:
    """A picture to draw.

    Attributes:
        sample_id, source, source_sha256, label, class_name: The original and its class.
        variant: 0, 1, ...: which of the pictures drawn from this original.
        spans: The prompt in order, with weights.
        negative_prompt: Stands for "no text" in classifier-free guidance.
        guidance_scale: Of this picture alone; 1 and below means no guidance.
        noise_rate: Share of the noise schedule run, in [0, 1]; diffusers calls it `strength`.
        seed: Of this picture's noise; the same for all noise rates and guidance scales.
        caption, similarity: The kept caption and its cosine, for the record; None if not read.
        image_id: The key of the drawn picture: a hash of all that decides its pixels.
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
    image_id: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        key = digest(
            self.source_sha256,
            [[span.text, span.weight] for span in self.spans],
            self.negative_prompt,
            self.guidance_scale,
            self.noise_rate,
            self.seed,
        )
        object.__setattr__(self, "image_id", key[:24])

    @property
    def text(self) -> str:
        """The prompt as one string."""
        return "".join(span.text for span in self.spans)


class PromptWriter(Protocol):
    """Turns samples, and captions and similarities where it reads them, into a drawing list."""

    @property
    def noise_rates(self) -> tuple[float, ...]:
        """The lowest and the highest noise rate that a prompt can have, in (0, 1]."""

    @property
    def reads(self) -> frozenset[str]:
        """The rooms it needs, of {"captions", "scores"}."""

    def recipe(self) -> dict:
        """Return everything that decides the drawing list."""

    def write(
        self,
        samples: Sequence[Sample],
        captions: Sequence[Sequence[str]] | None,
        similarities: Sequence[Sequence[float]] | None,
        per_sample: int,
    ) -> list[Prompt]:
        """Return `per_sample` prompts a sample, in the order of the samples."""


def prompt_of(
    sample: Sample,
    variant: int,
    generation_seed: int,
    *,
    spans: tuple[Span, ...],
    negative_prompt: str,
    guidance_scale: float,
    noise_rate: float,
    caption: str | None,
    similarity: float | None,
) -> Prompt:
    """Return the prompt of one variant of a sample; its noise comes from these three alone.

    Arms that differ in noise rate, guidance or text share their noise.
    """
    return Prompt(
        sample_id=sample.sample_id,
        source=sample.path,
        source_sha256=sample.sha256,
        label=sample.label,
        class_name=sample.class_name,
        variant=variant,
        spans=spans,
        negative_prompt=negative_prompt,
        guidance_scale=round(float(guidance_scale), 3),
        noise_rate=noise_rate,
        seed=seed_of(generation_seed, sample.sha256, variant),
        caption=caption,
        similarity=similarity,
    )


def best_caption(
    sample: Sample, captions: Sequence[str], similarities: Sequence[float]
) -> tuple[str, float]:
    """Return the caption with the highest similarity, the first of equals, and its cosine.

    Raises:
        ValueError: There is none, or a caption has no similarity.
    """
    if not captions or len(captions) != len(similarities):
        raise ValueError(
            f"{sample.sample_id}: expected captions with a similarity each, came {len(captions)} "
            f"captions and {len(similarities)} similarities"
        )
    best = max(range(len(captions)), key=lambda index: similarities[index])
    return captions[best], similarities[best]


def checked_noise_rate(value: float) -> float:
    """Return `prompts.noise_rate` as a float: 1 and 1.0 are one key.

    Raises:
        UserError: It is not in (0, 1].
    """
    if not 0 < value <= 1:
        raise UserError(f"prompts.noise_rate: expected a number in (0, 1], came {value}")
    return float(value)
