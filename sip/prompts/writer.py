"""What all prompt writers share: captions, guidance, seeds and the loop over samples."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any

from sip.core.component import Component, Part, component, ignored, refuse
from sip.core.errors import UserError
from sip.core.hashing import seed_of
from sip.core.ranges import Rate, Seed
from sip.core.spill import Joined, Spilled
from sip.dataset.base import Sample
from sip.prompts.base import Backoff, Prompt, Span, ranked_captions
from sip.prompts.guidance.base import GuidanceRule, fitted
from sip.prompts.weighting.base import Weighting

COSINES = [number / 20 for number in range(21)]  # at which a guidance rule is tried at first
Spans = tuple[Span, ...]
Chosen = tuple[str | None, float | None]  # a caption and its cosine; None if they are not read


@component
class Writer(Component, ABC):
    """Writes the prompt list; a subclass says the text.

    Args:
        negative_prompt: Stands for "no text" in classifier-free guidance.
        noise_rate: Share of the noise schedule run, in (0, 1]; diffusers calls it `strength`.
        seed: Generation seed; the seed of an image is its hash with source and variant.
        guidance: Gives the guidance scale, from the similarity of the kept caption if it needs it.
        weighting: Not used here: `images` reads it, and the recipe of `images` contains it. It is
            configured next to the prompts because it says what a weight means.
    """

    negative_prompt: str
    noise_rate: Rate
    seed: Seed
    guidance: Part[GuidanceRule]
    weighting: Part[Weighting] = ignored()

    def __post_init__(self) -> None:
        """Refuse a guidance rule that lacks a part of the protocol, or fails; before costly work.

        Raises:
            ValueRefusedError: It has no `recipe`, no `needs_similarity`, or cannot be called.
            UserError: It gives no guidance scale for any cosine in [0, 1].
        """
        parts = ("recipe", "needs_similarity", "__call__")
        if lacking := [part for part in parts if not hasattr(self.guidance, part)]:
            rule = "a rule with recipe(), needs_similarity and __call__(similarity)"
            fix = f"add {' and '.join(lacking)}, or derive it from sip.core.component.Component"
            raise refuse("guidance", rule, name_of(self.guidance), fix)
        _try_out(self.guidance)

    @property
    def noise_rates(self) -> tuple[float, ...]:
        """The noise rate of all prompts."""
        return (self.noise_rate,)

    @property
    def mixes_classes(self) -> bool:
        """Each image is to show its original's class."""
        return False

    @property
    def per_original(self) -> bool:
        """Whether the prompts of an original depend on its own captions and cosines only."""
        kind, rule = type(self), self.guidance
        reads_own = kind.prepare is Writer.prepare and kind.write is Writer.write
        return reads_own and self.backoff is None and fitted(rule, [0.0, 1.0]) is rule

    @property
    def reads(self) -> frozenset[str]:
        """Stages that it reads. Similarities decide which of several captions is kept."""
        return frozenset({"captions", "scores"} if self.guidance.needs_similarity else ())

    @property
    def backoff(self) -> Backoff | None:
        """Each image is generated once."""
        return None

    def check(self, samples: Sequence[Sample]) -> None:
        """Check nothing: any original will do."""

    def counts(self, samples: Sequence[Sample]) -> dict[str, int] | None:
        """Return None: `images.per_sample` says how many images an original has."""
        return None

    def prepare(
        self, samples: Sequence[Sample], captions: Sequence[Sequence[str]] | None
    ) -> Sequence[Any]:
        """Return what `spans` reads of the whole set."""
        return ()

    @abstractmethod
    def spans(
        self, sample: Sample, captions: Sequence[str | None], prepared: Sequence[Any]
    ) -> list[Spans]:
        """Return the prompts of the variants of a sample, of which each has its caption."""

    def choose(self, ranked: Sequence[tuple[str, float]], num: int) -> list[tuple[str, float]]:
        """Return the caption and cosine of each of `num` variants: the best one for all.

        Args:
            ranked: The different captions of the original with their cosines, best first.
            num: Variants.
        """
        return [ranked[0]] * num

    def rate(self, sample: Sample, variant: int, similarity: float | None) -> float:
        """Return the noise rate of an image."""
        return self.noise_rate

    def write(
        self,
        samples: Sequence[Sample],
        captions: Sequence[Sequence[str]] | None,
        similarities: Sequence[Sequence[float]] | None,
        per_sample: int,
    ) -> Sequence[Prompt]:
        """Return `per_sample` prompts a sample, in the order of the samples.

        Raises:
            ValueError: Captions or similarities that `reads` asks for are missing, or their
                numbers differ.
            UserError: The guidance rule gives no finite number.
        """
        if not samples:
            return []
        reads, given = self.reads, {"captions": captions, "scores": similarities}
        if missing := sorted(name for name in reads if given[name] is None):
            raise ValueError(f"this prompt reads {' and '.join(missing)}, got none")
        prepared = self.prepare(samples, captions)
        ranked: Sequence[list[tuple[str, float]]] = []
        if "scores" in reads and captions is not None and similarities is not None:
            ranked = Joined(ranked_captions, samples, captions, similarities)
        rule = fitted(self.guidance, Joined(_highest, ranked))
        return Spilled(self._prompts(samples, ranked, rule, prepared, per_sample))

    def _prompts(
        self,
        samples: Sequence[Sample],
        ranked: Sequence[list[tuple[str, float]]],
        rule: GuidanceRule,
        prepared: Sequence[Any],
        per_sample: int,
    ) -> Iterator[Prompt]:
        """Yield the prompts; `ranked` has the captions of each sample, or is empty."""
        of_samples = iter(ranked) if ranked else None
        for sample in samples:
            chosen: Sequence[Chosen] = [(None, None)] * per_sample
            if of_samples is not None:
                chosen = self.choose(next(of_samples), per_sample)
            place = f"{sample.sample_id} of class {sample.class_name}"
            scales = {pair: guidance_scale(rule, place, pair[1]) for pair in chosen}
            texts = self.spans(sample, [caption for caption, _ in chosen], prepared)
            for variant, ((caption, similarity), spans) in enumerate(
                zip(chosen, texts, strict=True)
            ):
                yield Prompt.of(
                    sample,
                    variant,
                    spans=spans,
                    negative_prompt=self.negative_prompt,
                    guidance_scale=scales[caption, similarity],
                    noise_rate=self.rate(sample, variant, similarity),
                    # Nothing else: arms that differ in text, guidance or rate share their noise.
                    seed=seed_of(self.seed, sample.sha256, variant),
                    caption=caption,
                    similarity=similarity,
                )


def _highest(ranked: Sequence[tuple[str, float]]) -> float:
    return ranked[0][1]


def name_of(rule: GuidanceRule) -> str:
    """Return the module and class of a guidance rule."""
    return f"{type(rule).__module__}.{type(rule).__qualname__}"


def _try_out(rule: GuidanceRule) -> None:
    """Refuse a rule that gives no guidance scale for any cosine. Raises as `guidance_scale`."""
    similarities: list[float | None] = [*COSINES] if rule.needs_similarity else [None]
    rule = fitted(rule, COSINES)
    errors = []
    for similarity in similarities:
        try:
            guidance_scale(rule, "any image", similarity)
            return
        except UserError as error:
            errors.append(error)
    raise errors[0]


def guidance_scale(rule: GuidanceRule, place: str, similarity: float | None) -> float:
    """Return the guidance scale of an image, to three decimals.

    Args:
        rule: The rule.
        place: The image in words, for the message.
        similarity: Cosine in [-1, 1] of the image with its caption; None if the rule needs none.

    Raises:
        UserError: The rule fails, or gives NaN, infinity, less than 0 or no number: the image would
            be generated without guidance.
    """
    try:
        scale: Any = rule(similarity)
    except Exception as error:  # of a rule of the user's own
        raise UserError(
            f"prompts.guidance: {name_of(rule)} must give a number for {place}, got "
            f"{type(error).__name__}: {' '.join(str(error).split())} for similarity {similarity}; "
            "fix the rule (debug=true prints the traceback)"
        ) from error
    try:
        is_finite = isfinite(scale)
    except TypeError:
        is_finite = False
    if not is_finite or scale < 0:
        wanted = "a number of 0 or more" if is_finite else "a finite number"
        raise UserError(
            f"prompts.guidance: {name_of(rule)} must give {wanted} for {place}, got "
            f"{scale!r} for similarity {similarity}; fix the rule"
        )
    return round(float(scale), 3)
