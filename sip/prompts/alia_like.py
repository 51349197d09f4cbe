"""A baseline on our engine: the prompts of ALIA, which place a class in settings of the data set.

Source: Dunlap et al., ALIA, NeurIPS 2023, arXiv 2305.16289, with the code at
github.com/lisadunlap/ALIA (it has no licence file; no code is copied). There, BLIP
captions the training set, GPT-4 sums the captions up (the code: 20 of them) into at most 10
descriptions of settings that do not name the class, and Stable Diffusion 1.5 edits each image
towards "a photo of a {label} {setting}" (image to image, strength 0.6 and guidance 7.5 for CUB).

What we changed: the language model. A caption is cut into phrases at its commas; the first part,
which holds the subject, also before prepositions and at "and". The subject itself is left out, and
so are phrases with a word of a class's name. The phrases that most originals' captions hold are the
descriptions. They are computed from all captions and are deterministic; what they lack is a
summary's wording. ALIA's filter of the edits is not part of it.

Since the descriptions depend on the whole set, another subset may have different ones and then
shares no generated images with this one. This is a property of the method.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from sip.core.component import component
from sip.core.errors import UserError
from sip.core.ranges import Count
from sip.core.templates import cut
from sip.dataset.base import Sample
from sip.prompts.varied import Choice, Varied

# Where the subject ends. Not at "of": "a field of flowers" is one thing. Nor at "in the
# background", which locates the phrase before it.
OPENERS = {
    *("above", "against", "among", "at", "behind", "below", "beneath", "beside", "between", "by"),
    *("during", "from", "in", "inside", "near", "next", "on", "outside", "over", "surrounded"),
    *("through", "under", "while", "with", "without"),
}
COMMA = re.compile(r"[,;.]\s*")
# Not within "an inside view" either.
NOT_HERE = r"(?<!\ba)(?<!\ban)(?<!\bthe)"
CUT = re.compile(
    rf"\s+and\s+|{NOT_HERE}\s+(?=(?:{'|'.join(sorted(OPENERS))})\b)"
    r"(?!in the (?:background|foreground)\b)"
)
# Words without content, which make no class name.
EMPTY = {
    *("a", "an", "and", "are", "as", "at", "by", "for", "in", "is", "it", "its", "of", "on", "or"),
    *("that", "the", "there", "this", "to"),
}


@component
class AliaLike(Varied):
    """A label, and one of the settings that the captions of the whole set name most often.

    Args:
        template: Text with `{domain}`, and with `{label}` or without.
        num_domains: Descriptions at most.
    """

    template: str
    num_domains: Count

    def __post_init__(self) -> None:
        """Refuse a template without `{domain}` or with an unknown field."""
        super().__post_init__()
        cut("template", self.template, ("label", "domain"), needed=("domain",))

    @property
    def reads(self) -> frozenset[str]:
        """Stages that it reads."""
        return super().reads | {"captions"}

    def prepare(
        self, samples: Sequence[Sample], captions: Sequence[Sequence[str]] | None
    ) -> Sequence[Choice]:
        """Return the template with each description.

        Raises:
            UserError: The captions name only the subject.
        """
        assert captions is not None  # `reads` asks for them
        classes = {sample.class_name for sample in samples}
        domains = summary(captions, classes, self.num_domains)
        if not domains:
            raise UserError(
                f"captions: must name more than the subject for prompts=alia_like, got "
                f"{captions[0][0]!r} and the like; use captions=blip or another captioner"
            )
        return [(self.template, {"domain": domain}) for domain in domains]


def summary(captions: Sequence[Sequence[str]], classes: Iterable[str], most: int) -> list[str]:
    """Return the descriptions in the captions of most originals, the most frequent first.

    Args:
        captions: Captions of each original; a phrase counts once for each original.
        classes: Names, none of whose words is in a description.
        most: How many, at most; of equally frequent ones the first by alphabet.
    """
    names = {_singular(word) for name in classes for word in _words(name)} - EMPTY
    counts = Counter(
        phrase
        for of_original in captions
        for phrase in {phrase for caption in of_original for phrase in phrases(caption)}
        if not names & {_singular(word) for word in _words(phrase)}
    )
    return sorted(counts, key=lambda phrase: (-counts[phrase], phrase))[:most]


def phrases(caption: str) -> list[str]:
    """Return the phrases of a caption without its subject and without empty words."""
    subject, *rest = COMMA.split(caption.lower())
    parts = [" ".join(part.split()) for part in [*CUT.split(subject)[1:], *rest]]
    return [part for part in parts if set(_words(part)) - EMPTY - OPENERS]


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") else word
