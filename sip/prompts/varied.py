"""What prompts share that say something else for each picture drawn from one original.

There is a list of things to say. Every original walks through it from a place of its own, which is
a hash of the generation's seed and of its content: its variants differ until the list is through,
and neither the other originals nor the number of variants change what one of them is told.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from sip.core.errors import UserError
from sip.core.hashing import seed_of
from sip.dataset.base import Sample
from sip.prompts.base import Prompt, Span, best_caption, checked_noise_rate, prompt_of
from sip.prompts.guidance.base import GuidanceRule
from sip.prompts.weighting.base import Weighting

FIELD = re.compile(r"\{([^{}]*)\}")
Choice = tuple[str, Mapping[str, str]]  # a template, and what stands for its fields


class Varied(ABC):
    """Writes one of several texts for each picture, unweighted.

    Args:
        negative_prompt: Stands for "no text" in classifier-free guidance.
        noise_rate: Share of the noise schedule run, in (0, 1]; diffusers calls it `strength`.
        seed: Of the generation; a picture's own comes from it, the source and the variant.
        guidance: Gives the guidance scale.
        weighting: Not used here; see `sip.prompts.label_caption`.

    Raises:
        UserError: The noise rate is out of range.
    """

    def __init__(
        self,
        negative_prompt: str,
        noise_rate: float,
        seed: int,
        guidance: GuidanceRule,
        weighting: Weighting,
    ) -> None:
        self.negative_prompt = negative_prompt
        self.noise_rate = checked_noise_rate(noise_rate)
        self.seed = seed
        self.guidance = guidance
        self.weighting = weighting

    @abstractmethod
    def choices(
        self, samples: Sequence[Sample], captions: Sequence[Sequence[str]] | None
    ) -> Sequence[Choice]:
        """Return what there is to say, `{label}` still open."""

    @property
    def noise_rates(self) -> tuple[float, ...]:
        """The one that all prompts have."""
        return (self.noise_rate,)

    @property
    def reads(self) -> frozenset[str]:
        """The rooms it needs."""
        return frozenset({"captions", "scores"} if self.guidance.needs_similarity else ())

    def recipe(self) -> dict:
        """Return everything that decides the drawing list."""
        return {
            "class": f"{type(self).__module__}.{type(self).__qualname__}",
            "version": 1,
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
            ValueError: Captions or similarities are missing that `reads` asks for.
        """
        given = {"captions": captions, "scores": similarities}
        if missing := sorted(name for name in self.reads if given[name] is None):
            raise ValueError(f"this prompt reads {' and '.join(missing)}, and came without")
        if not samples:
            return []
        choices = self.choices(samples, captions)
        prompts = []
        for index, sample in enumerate(samples):
            caption, similarity = None, None
            if "scores" in self.reads and captions is not None and similarities is not None:
                caption, similarity = best_caption(sample, captions[index], similarities[index])
            first = seed_of(self.seed, "prompt", sample.sha256)
            for variant in range(per_sample):
                template, fields = choices[(first + variant) % len(choices)]
                text = fill(template, {"label": sample.class_name, **fields})
                prompts.append(
                    prompt_of(
                        sample,
                        variant,
                        self.seed,
                        spans=(Span(text, 1.0),) if text else (),
                        negative_prompt=self.negative_prompt,
                        guidance_scale=self.guidance(similarity),
                        noise_rate=self.rate(sample, variant, similarity),
                        caption=caption,
                        similarity=similarity,
                    )
                )
        return prompts

    def rate(self, sample: Sample, variant: int, similarity: float | None) -> float:
        """Return the noise rate of a picture."""
        return self.noise_rate


def fill(template: str, fields: Mapping[str, str]) -> str:
    """Return the template with its fields' texts; braces within these are left as they are."""
    return FIELD.sub(lambda found: fields[found[1]], template)


def checked_template(key: str, template: str, known: Sequence[str]) -> str:
    """Return a template of `prompts.<key>`.

    Raises:
        UserError: It is no text, or has an unknown field.
    """
    fields = FIELD.findall(template) if isinstance(template, str) else [template]
    if unknown := [field for field in fields if field not in known]:
        names = " and ".join(f"{{{name}}}" for name in known)
        raise UserError(
            f"prompts.{key}: expected a text with no fields but {names}, "
            f"came {unknown[0]!r} in {template!r}"
        )
    return template
