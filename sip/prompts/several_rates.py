"""Prompts of the label (and the caption), each image with one of several noise rates.

With the label only, this is the prompt of DA-Fusion (`prompts=da_fusion_like`).
"""

from typing import Annotated

from pydantic import Field

from sip.core.component import component, refuse
from sip.core.hashing import seed_of
from sip.core.ranges import Rate
from sip.dataset.base import Sample
from sip.prompts.label_caption import LabelCaption


@component
class SeveralRates(LabelCaption):
    """Fills the template; the noise rate of an image is one of a list, each with the same chance.

    Args:
        rates: Noise rates, of which each image has one by seed. `noise_rate` is the first of them.
    """

    rates: Annotated[list[Rate], Field(min_length=1)]

    def __post_init__(self) -> None:
        """Refuse a noise rate that is not among the rates."""
        super().__post_init__()
        if self.noise_rate != self.rates[0]:
            rule = f"the first of prompts.rates, {self.rates[0]:g}"
            fix = f"set 'prompts.rates=[{self.noise_rate:g}]'"
            raise refuse("noise_rate", rule, self.noise_rate, fix)

    @property
    def noise_rates(self) -> tuple[float, ...]:
        """The lowest and the highest noise rate."""
        return (min(self.rates), max(self.rates))

    def rate(self, sample: Sample, variant: int, similarity: float | None) -> float:
        """Return the noise rate of an image; seeded by source and variant."""
        return self.rates[
            seed_of(self.seed, "noise rate", sample.sha256, variant) % len(self.rates)
        ]
