"""Writers whose prompts differ between the images generated from one original.

There is a list of texts. Each original goes through it from a place of its own, a hash of the
generation's seed and of its content: its variants differ until the list is through, and its texts
depend neither on the other originals nor on the number of variants.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

from sip.core.component import component
from sip.core.hashing import seed_of
from sip.dataset.base import Sample
from sip.prompts.base import Span
from sip.prompts.writer import Spans, Writer

Choice = tuple[str, Mapping[str, str]]  # a template, and the values of its fields but `label`


@component
class Varied(Writer):
    """Writes one of several texts for each image, unweighted."""

    @abstractmethod
    def prepare(
        self, samples: Sequence[Sample], captions: Sequence[Sequence[str]] | None
    ) -> Sequence[Choice]:
        """Return the texts, `{label}` still open."""

    def spans(
        self, sample: Sample, captions: Sequence[str | None], prepared: Sequence[Choice]
    ) -> list[Spans]:
        """Return the next texts from the place of the sample on, one for each variant."""
        first = seed_of(self.seed, "prompt", sample.sha256)
        chosen = [prepared[(first + variant) % len(prepared)] for variant in range(len(captions))]
        texts = [template.format(label=sample.class_name, **fields) for template, fields in chosen]
        return [(Span(text, 1.0),) if text else () for text in texts]
