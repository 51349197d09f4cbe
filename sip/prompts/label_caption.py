"""SIP's prompt: the class label joined with the caption that fits the image best.

Source: arXiv 2302.02070, method section: the label weighs 1.5, the caption 0.9, and the caption
with the highest CLIP similarity is kept. The template is ours. Label only, caption only and empty
prompts are presets of this class with other templates.
"""

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

from sip.core.component import component
from sip.core.templates import cut
from sip.dataset.base import Sample
from sip.prompts.base import Span
from sip.prompts.writer import Spans, Writer


@component
class LabelCaption(Writer):
    """Fills a template with label and caption, each with its weight.

    Args:
        template: Text with `{label}` and `{caption}`, each any number of times or not at all.
        label_weight, caption_weight: Weights of these fields' text; all other text weighs 1.
    """

    template: str
    label_weight: float
    caption_weight: float

    def __post_init__(self) -> None:
        """Refuse a template with another field."""
        super().__post_init__()
        _ = self._pieces

    @cached_property
    def _pieces(self) -> list[tuple[str, str | None]]:
        return cut("template", self.template, ("label", "caption"))

    @property
    def reads(self) -> frozenset[str]:
        """Stages that it reads. Similarities decide which of several captions is kept."""
        if any(field == "caption" for _, field in self._pieces):
            return frozenset({"captions", "scores"})
        return super().reads

    def spans(
        self, sample: Sample, caption: str | None, num: int, prepared: Sequence[Any]
    ) -> list[Spans]:
        """Return the same prompt for all variants."""
        spans = []
        for text, field in self._pieces:
            spans.append(_shared_span(text, 1.0))
            if field == "label":
                spans.append(_shared_span(sample.class_name, self.label_weight))
            elif field == "caption":
                spans.append(Span(caption or "", self.caption_weight))
        return [tuple(span for span in spans if span.text)] * num


_shared_span = lru_cache(4096)(Span)  # the template's parts and the labels are the same in many
