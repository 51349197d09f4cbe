"""SIP's prompt: the class label joined with the caption that fits the picture best.

Source: arXiv 2302.02070, method section: the label weighs 1.5, the caption 0.9, and the caption
with the highest CLIP similarity is kept. The template is ours. Label only, caption only and empty
prompts are presets of this class with other templates.
"""

from collections.abc import Sequence
from functools import lru_cache
from string import Formatter

from sip.core.errors import UserError
from sip.dataset.base import Sample
from sip.prompts.base import Prompt, Span, best_caption, checked_noise_rate, prompt_of
from sip.prompts.guidance.base import GuidanceRule
from sip.prompts.weighting.base import Weighting

FIELDS = ("label", "caption")


class LabelCaption:
    """Fills a template with label and caption, each with its weight.

    Args:
        template: Text with `{label}` and `{caption}`, each any number of times or not at all.
        label_weight, caption_weight: Of these fields' text; all other text weighs 1.
        negative_prompt: Stands for "no text" in classifier-free guidance.
        noise_rate: Share of the noise schedule run, in (0, 1]; diffusers calls it `strength`.
        seed: Of the generation; a picture's own comes from it, the source and the variant.
        guidance: Turns the kept caption's similarity into the guidance scale.
        weighting: Not used here: `images` reads it, and its recipe holds it. It lies among the
            prompts because it says what a weight means.

    Raises:
        UserError: The template has an unknown field, or the noise rate is out of range.
    """

    def __init__(
        self,
        template: str,
        label_weight: float,
        caption_weight: float,
        negative_prompt: str,
        noise_rate: float,
        seed: int,
        guidance: GuidanceRule,
        weighting: Weighting,
    ) -> None:
        self.template = template
        self.pieces = _cut(template)
        self.weights = {"label": float(label_weight), "caption": float(caption_weight)}
        self.negative_prompt = negative_prompt
        self.noise_rate = checked_noise_rate(noise_rate)
        self.seed = seed
        self.guidance = guidance
        self.weighting = weighting

    @property
    def noise_rates(self) -> tuple[float, ...]:
        """The one that all prompts have."""
        return (self.noise_rate,)

    @property
    def reads(self) -> frozenset[str]:
        """The rooms it needs. The best of several captions is known by its similarity."""
        shows_caption = any(field == "caption" for _, field in self.pieces)
        if shows_caption or self.guidance.needs_similarity:
            return frozenset({"captions", "scores"})
        return frozenset()

    def recipe(self) -> dict:
        """Return everything that decides the drawing list."""
        return {
            "class": "sip.prompts.label_caption.LabelCaption",
            "version": 1,
            "template": self.template,
            "weights": self.weights,
            "negative_prompt": self.negative_prompt,
            "noise_rate": self.noise_rate,
            "seed": self.seed,
            "guidance": self.guidance.recipe(),
        }

    def write(
        self,
        samples: Sequence[Sample],
        captions: Sequence[Sequence[str]] | None,
        similarities: Sequence[Sequence[float]] | None,
        per_sample: int,
    ) -> list[Prompt]:
        """Return `per_sample` prompts a sample, in the order of the samples.

        Raises:
            ValueError: A sample has no caption although `reads` asks for captions, or lists of
                captions and similarities do not match.
        """
        prompts = []
        for index, sample in enumerate(samples):
            caption, similarity = None, None
            if self.reads:
                if captions is None or similarities is None:
                    raise ValueError("this prompt reads captions and scores, and came without")
                caption, similarity = best_caption(sample, captions[index], similarities[index])
            spans = self._spans(sample.class_name, caption)
            scale = self.guidance(similarity)
            prompts += [
                prompt_of(
                    sample,
                    variant,
                    self.seed,
                    spans=spans,
                    negative_prompt=self.negative_prompt,
                    guidance_scale=scale,
                    noise_rate=self.noise_rate,
                    caption=caption,
                    similarity=similarity,
                )
                for variant in range(per_sample)
            ]
        return prompts

    def _spans(self, label: str, caption: str | None) -> tuple[Span, ...]:
        texts = {"label": label, "caption": caption or ""}
        spans = []
        for text, field in self.pieces:
            spans.append(_shared_span(text, 1.0))
            if field is not None:
                span = Span if field == "caption" else _shared_span
                spans.append(span(texts[field], self.weights[field]))
        return tuple(span for span in spans if span.text)


_shared_span = lru_cache(4096)(Span)  # the template's parts and the labels are the same in many


def _cut(template: str) -> list[tuple[str, str | None]]:
    """Cut a template into (plain text, field that follows it or None)."""
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as error:
        raise UserError(f"prompts.template: {template!r}: {error}") from error
    for _, field, spec, conversion in parsed:
        if field is not None and (field not in FIELDS or spec or conversion):
            raise UserError(
                f"prompts.template: expected the fields {{label}} and {{caption}}, "
                f"came {{{field}}} in {template!r}"
            )
    return [(text, field) for text, field, _, _ in parsed]
