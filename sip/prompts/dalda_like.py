"""A baseline on our engine: the adaptive scale of DALDA, which changes untypical originals less.

Source: Jung et al., DALDA, arXiv 2409.16949, with the code at github.com/kkyuhun94/dalda (it has
no licence file; no code is copied). There, GPT-4 writes prompts for every class, and
Stable Diffusion 1.4 with an IP-Adapter generates from text and image. The adapter's scale, the
weight of the image, is sampled from a normal distribution cut to [0.7, 0.9] if the original's
CLIPScore is low, to about [0.1, 0.4] if it is above 0.3, with a deviation of 0.05 times the
shots; guidance 7.5, 30 steps.

What we changed:
- image to image in place of the IP-Adapter. The noise rate takes the place of 1 - scale: how far an
  image may go from its original.
- the CLIPScore is the cosine of the original with its class's caption (`captions=class_name`); in
  their code it is the class's probability among all classes. The mean moves along a straight line
  over a stated range of cosines, and not in two steps.
- the deviation is stated and does not grow with the shots; the normal distribution is truncated, as
  the paper says, and not clamped, as the code does.
- a stated list of templates in place of the language model's prompts.
"""

from functools import cached_property
from statistics import NormalDist

from sip.core.component import component, refuse
from sip.core.hashing import seed_of
from sip.core.ranges import Pair, Share
from sip.dataset.base import Sample
from sip.prompts.guidance.base import known
from sip.prompts.templates import Templates

GRID = 0.05  # between two noise rates: images of one rate are generated together
EDGE = 1e-12  # of the probabilities, whose inverse has no value at 0 and 1


@component
class DaldaLike(Templates):
    """A noise rate for each image, from a truncated normal distribution.

    Args:
        noise_rate: Mean of an image whose similarity is in the middle of `similarities`.
        spread: The mean goes from `noise_rate - spread`, for what does not look like its class, to
            `noise_rate + spread`; all rates lie between these, and in [0.05, 1].
        sigma: Standard deviation of the rate of one image.
        similarities: Cosines, [low, high], over which the mean moves.
    """

    spread: Share
    sigma: Share
    similarities: Pair

    def __post_init__(self) -> None:
        """Refuse an empty range of similarities."""
        super().__post_init__()
        if not self.similarities[0] < self.similarities[1]:
            raise refuse("similarities", "[low, high] with low < high", list(self.similarities))

    @cached_property
    def low(self) -> float:
        """The lowest noise rate."""
        return min(self.noise_rate, max(GRID, self.noise_rate - self.spread))

    @cached_property
    def high(self) -> float:
        """The highest noise rate."""
        return min(1.0, self.noise_rate + self.spread)

    @property
    def noise_rates(self) -> tuple[float, ...]:
        """The lowest and the highest noise rate."""
        return (round(self.low, 3), round(self.high, 3))

    @property
    def reads(self) -> frozenset[str]:
        """Stages that it reads."""
        return frozenset({"captions", "scores"})

    def mean(self, similarity: float) -> float:
        """Return the mean noise rate, before truncation, for a cosine in [-1, 1]."""
        least, most = self.similarities
        place = min(1.0, max(0.0, (similarity - least) / (most - least)))
        mean = self.noise_rate + self.spread * (2 * place - 1)
        return min(self.high, max(self.low, mean))

    def rate(self, sample: Sample, variant: int, similarity: float | None) -> float:
        """Return the noise rate of an image, on the grid; seeded by source and variant."""
        mean = self.mean(known(similarity))
        rate = mean
        if self.sigma:
            normal = NormalDist(mean, self.sigma)
            below, above = normal.cdf(self.low), normal.cdf(self.high)
            uniform = seed_of(self.seed, "noise rate", sample.sha256, variant) / 2**63
            rate = normal.inv_cdf(min(1 - EDGE, max(EDGE, below + uniform * (above - below))))
        on_grid = round(rate / GRID) * GRID
        return round(min(self.high, max(self.low, on_grid)), 3)
