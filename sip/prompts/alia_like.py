"""Rival, on our engine: ALIA's prompts, which put a class into settings seen in the training set.

Source: Dunlap et al., ALIA, NeurIPS 2023, arXiv 2305.16289, with the code at
github.com/lisadunlap/ALIA (no licence file was found in it; nothing is copied). There, BLIP
captions the training set, GPT-4 sums the captions up (the code: 20 of them) into at most 10
descriptions of settings that do not name the class, and Stable Diffusion 1.5 edits each picture
towards "a photo of a {label} {setting}" (image to image, strength 0.6 and guidance 7.5 for CUB).

What we changed: the language model. A caption is cut into phrases at its commas; the first part,
which holds the subject, also before prepositions and at "and". The subject itself is left out, and
so are phrases with a word of a class's name. The phrases that most originals' captions hold are the
descriptions. So they come from all captions and are the same each time; what they lack is a
summary's wording. ALIA's filter of the edits is not part of it.

Since the descriptions come from the whole set, another subset may have others, and then shares no
drawn picture with this one. That is the method.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from sip.core.errors import UserError
from sip.dataset.base import Sample
from sip.prompts.guidance.base import GuidanceRule
from sip.prompts.varied import Choice, Varied, checked_template
from sip.prompts.weighting.base import Weighting

# Where the subject ends. Not at "of": "a field of flowers" is one thing. Nor at "in the
# background", which says where the phrase before it is.
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
# Words that alone say nothing, and make no class's name.
EMPTY = {
    *("a", "an", "and", "are", "as", "at", "by", "for", "in", "is", "it", "its", "of", "on", "or"),
    *("that", "the", "there", "this", "to"),
}


class AliaLike(Varied):
    """A label, and one of the settings that the captions of the whole set speak of most.

    Args:
        template: Text with `{label}` and `{domain}`.
        num_domains: Descriptions at most.
        negative_prompt, noise_rate, seed, guidance, weighting: As in `Varied`.

    Raises:
        UserError: The template has an unknown field or no `{domain}`, or there are to be no
            descriptions.
    """

    def __init__(
        self,
        template: str,
        num_domains: int,
        negative_prompt: str,
        noise_rate: float,
        seed: int,
        guidance: GuidanceRule,
        weighting: Weighting,
    ) -> None:
        super().__init__(negative_prompt, noise_rate, seed, guidance, weighting)
        self.template = checked_template("template", template, ("label", "domain"))
        if "{domain}" not in template:
            raise UserError(f"prompts.template: expected {{domain}} in it, came {template!r}")
        if type(num_domains) is not int or num_domains < 1:
            raise UserError(f"prompts.num_domains: expected a number >= 1, came {num_domains!r}")
        self.num_domains = num_domains

    @property
    def reads(self) -> frozenset[str]:
        """The rooms it needs."""
        return super().reads | {"captions"}

    def recipe(self) -> dict:
        """Return everything that decides the drawing list."""
        return {**super().recipe(), "template": self.template, "num_domains": self.num_domains}

    def choices(
        self, samples: Sequence[Sample], captions: Sequence[Sequence[str]] | None
    ) -> Sequence[Choice]:
        """Return the template with each description.

        Raises:
            UserError: The captions say nothing but the subject.
        """
        assert captions is not None  # `reads` asks for them
        classes = {sample.class_name for sample in samples}
        domains = summary(captions, classes, self.num_domains)
        if not domains:
            raise UserError(
                f"prompts: expected captions that say more than what is seen, came "
                f"{captions[0][0]!r} and the like; use captions=blip, or another captioner"
            )
        return [(self.template, {"domain": domain}) for domain in domains]


def summary(captions: Sequence[Sequence[str]], classes: Iterable[str], most: int) -> list[str]:
    """Return the descriptions that the captions of most originals hold, the most frequent first.

    Args:
        captions: Of each original; a phrase counts once an original.
        classes: Names, none of whose words is in a description.
        most: How many, at most; of equally frequent ones the first by alphabet.
    """
    names = {_singular(word) for name in classes for word in _words(name)} - EMPTY
    counts = Counter(
        phrase
        for of_one in captions
        for phrase in {phrase for caption in of_one for phrase in phrases(caption)}
        if not names & {_singular(word) for word in _words(phrase)}
    )
    return sorted(counts, key=lambda phrase: (-counts[phrase], phrase))[:most]


def phrases(caption: str) -> list[str]:
    """Cut a caption into phrases; without its subject, and without those that say nothing."""
    subject, *others = COMMA.split(caption.lower())
    parts = [" ".join(part.split()) for part in [*CUT.split(subject)[1:], *others]]
    return [part for part in parts if set(_words(part)) - EMPTY - OPENERS]


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") else word
