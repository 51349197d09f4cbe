"""SIP with as much noise as the class survives: a ladder of noise rates for each image.

Ours. The paper takes one noise rate for all images (arXiv 2302.02070) and leaves open how to choose
it. Here each image starts at the highest rate; if the verdict finds its class lost, it is generated
again one rate lower (`sip.pipeline.backoff`), with the same prompt and noise. What is rejected at
the lowest rate, too, is left out.
"""

from functools import cached_property
from typing import Annotated, Any

from pydantic import Field

from sip.core.component import Part, added, component, refuse
from sip.core.ranges import Count, Rate
from sip.prompts.base import Backoff
from sip.prompts.label_caption import LabelCaption


@component
class SipAdaptive(LabelCaption):
    """Label and caption at the highest noise rate that the verdict accepts.

    Args:
        ladder: Noise rates, falling. `noise_rate` is the first of them.
        verdict: A filter that judges each image by itself.
        learn: Originals of each class that start at the highest rate; its others start where
            `sip.pipeline.starts` learns from them that the class holds. None: all start there.
        min_acceptance: Share of accepted images that a rate must promise to be a start.
    """

    ladder: Annotated[list[Rate], Field(min_length=1)]
    verdict: Part[Any]
    learn: Count | None = added(neutral=None)
    min_acceptance: Annotated[float, Field(gt=0, lt=1)] = added(neutral=0.5)

    def __post_init__(self) -> None:
        """Refuse a ladder that does not fall, and a filter that compares images."""
        super().__post_init__()
        if sorted(set(self.ladder), reverse=True) != self.ladder:
            raise refuse("ladder", "noise rates, each lower than the one before", self.ladder)
        if self.noise_rate != self.ladder[0]:
            rule = f"the first of prompts.ladder, {self.ladder[0]:g}"
            raise refuse("noise_rate", rule, self.noise_rate, "set prompts.ladder only")
        if not getattr(self.verdict, "single", False):
            rule = "a filter that judges each image by itself"
            fix = "choose prompts/verdict=zero_shot; other filters go to filter="
            raise refuse("verdict", rule, type(self.verdict).__name__, fix)

    @property
    def noise_rates(self) -> tuple[float, ...]:
        """The noise rates of the ladder."""
        return tuple(self.ladder)

    @cached_property
    def backoff(self) -> Backoff:
        """The ladder and its verdict."""
        return Backoff(tuple(self.ladder), self.verdict, self.learn, self.min_acceptance)
