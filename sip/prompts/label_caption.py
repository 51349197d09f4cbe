"""SIP's prompt: the class label joined with the caption that fits the image best.

Source: arXiv 2302.02070, method section: the label weighs 1.5, the caption 0.9, and the caption
with the highest CLIP similarity is kept. The template is ours. Label only, caption only and empty
prompts are presets of this class with other templates.
"""

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

from sip.core.component import added, component, refuse
from sip.core.templates import cut
from sip.dataset.base import Sample
from sip.prompts.base import Span
from sip.prompts.writer import Spans, Writer

VOWELS = tuple("aeiou")


@component
class LabelCaption(Writer):
    """Fills a template with label and caption, each with its weight.

    Args:
        template: Text with `{label}` and `{caption}`, each any number of times or not at all;
            `{article}` is "an" if the label begins with a vowel, else "a", also of "hour".
        label_weight, caption_weight: Weights of these fields' text; all other text weighs 1.
        vary_captions: Whether the images of one original take its different captions, the best
            first and then round again, each with its own guidance scale; else all take the best.
    """

    template: str
    label_weight: float
    caption_weight: float
    vary_captions: bool = added(neutral=False)

    def __post_init__(self) -> None:
        """Refuse a template with another field, and different captions that it does not hold."""
        super().__post_init__()
        if not self._shows_caption and self.vary_captions:
            fix = "choose prompts=label_caption, or put {caption} into prompts.template"
            raise refuse("vary_captions", "false as the template has no {caption}", True, fix)

    @cached_property
    def _pieces(self) -> list[tuple[str, str | None]]:
        return cut("template", self.template, ("label", "caption", "article"))

    @property
    def _shows_caption(self) -> bool:
        return any(field == "caption" for _, field in self._pieces)

    @property
    def reads(self) -> frozenset[str]:
        """Stages that it reads. Similarities decide which of several captions is kept."""
        if self._shows_caption:
            return frozenset({"captions", "scores"})
        return super().reads

    def spans(
        self, sample: Sample, captions: Sequence[str | None], prepared: Sequence[Any]
    ) -> list[Spans]:
        """Return the prompts; those of variants with the same caption are the same."""
        texts = {caption: self._filled(sample, caption) for caption in captions}
        return [texts[caption] for caption in captions]

    def choose(self, ranked: Sequence[tuple[str, float]], num: int) -> list[tuple[str, float]]:
        """Return the caption and cosine of each of `num` variants."""
        if not self.vary_captions:
            return super().choose(ranked, num)
        return [ranked[variant % len(ranked)] for variant in range(num)]

    def _filled(self, sample: Sample, caption: str | None) -> Spans:
        """Return the template with label and caption."""
        spans = []
        for text, field in self._pieces:
            spans.append(_shared_span(text, 1.0))
            if field == "label":
                spans.append(_shared_span(sample.class_name, self.label_weight))
            elif field == "article":
                article = "an" if sample.class_name[:1].lower() in VOWELS else "a"
                spans.append(_shared_span(article, 1.0))
            elif field == "caption":
                spans.append(Span(caption or "", self.caption_weight))
        return tuple(span for span in spans if span.text)


_shared_span = lru_cache(4096)(Span)  # the template's parts and the labels are the same in many
