"""Rival, on our engine: DALDA's adaptive scale, which keeps odd originals nearer to themselves.

Source: Jung et al., DALDA, arXiv 2409.16949, with the code at github.com/kkyuhun94/dalda (no
licence file was found in it; nothing is copied). There, GPT-4 writes prompts for every class, and
Stable Diffusion 1.4 with an IP-Adapter draws from text and picture. The adapter's scale, by which
the picture counts, is drawn from a normal distribution cut to [0.7, 0.9] where the original's
CLIPScore is low, to about [0.1, 0.4] where it is above 0.3, with a deviation of 0.05 times the
shots; guidance 7.5, 30 steps.

What we changed:
- image to image in place of the IP-Adapter. The noise rate plays the part of 1 - scale: how far a
  picture may go from its original.
- the CLIPScore is the cosine of the original with its class's caption (`captions=class_name`); in
  their code it is the class's probability among all classes. The mean moves along a straight line
  over a stated range of cosines, and not in two steps.
- the deviation is stated and does not grow with the shots; the normal distribution is truncated, as
  the paper says, and not clamped, as the code does.
- a stated list of templates in place of the language model's prompts.
"""

from collections.abc import Sequence
from statistics import NormalDist

from sip.core.errors import UserError
from sip.core.hashing import seed_of
from sip.dataset.base import Sample
from sip.prompts.guidance.base import GuidanceRule, known
from sip.prompts.listed import Listed
from sip.prompts.weighting.base import Weighting

GRID = 0.05  # between two noise rates: pictures are drawn together with those of their own
EDGE = 1e-12  # of the probabilities, whose inverse has no value at 0 and 1


class DaldaLike(Listed):
    """A noise rate for each picture, from a truncated normal distribution.

    Args:
        templates, negative_prompt, seed, guidance, weighting: As in `Listed`.
        noise_rate: Mean of a picture whose similarity is in the middle of `similarities`.
        spread: The mean goes from `noise_rate - spread`, for what does not look like its class, to
            `noise_rate + spread`; all rates lie between these, and in [0.05, 1].
        sigma: Deviation of the rate of one picture, >= 0.
        similarities: Cosines, [low, high], over which the mean moves.

    Raises:
        UserError: A value is out of its range.
    """

    def __init__(
        self,
        templates: Sequence[str],
        negative_prompt: str,
        noise_rate: float,
        spread: float,
        sigma: float,
        similarities: Sequence[float],
        seed: int,
        guidance: GuidanceRule,
        weighting: Weighting,
    ) -> None:
        super().__init__(templates, negative_prompt, noise_rate, seed, guidance, weighting)
        for name, value in (("spread", spread), ("sigma", sigma)):
            if not 0 <= value <= 1:
                raise UserError(f"prompts.{name}: expected a number in [0, 1], came {value}")
        ends = list(similarities)
        if len(ends) != 2 or not ends[0] < ends[1]:
            raise UserError(
                f"prompts.similarities: expected [low, high] with low < high, came {similarities}"
            )
        self.spread, self.sigma = float(spread), float(sigma)
        self.similarities = (float(ends[0]), float(ends[1]))
        low = max(GRID, self.noise_rate - self.spread)
        self.low = min(self.noise_rate, low)
        self.high = min(1.0, self.noise_rate + self.spread)

    @property
    def noise_rates(self) -> tuple[float, ...]:
        """The lowest and the highest."""
        return (round(self.low, 3), round(self.high, 3))

    @property
    def reads(self) -> frozenset[str]:
        """The rooms it needs."""
        return frozenset({"captions", "scores"})

    def recipe(self) -> dict:
        """Return everything that decides the drawing list."""
        return {
            **super().recipe(),
            "spread": self.spread,
            "sigma": self.sigma,
            "similarities": list(self.similarities),
        }

    def mean(self, similarity: float) -> float:
        """Return the mean noise rate, before truncation, for a cosine in [-1, 1]."""
        least, most = self.similarities
        place = min(1.0, max(0.0, (similarity - least) / (most - least)))
        mean = self.noise_rate + self.spread * (2 * place - 1)
        return min(self.high, max(self.low, mean))

    def rate(self, sample: Sample, variant: int, similarity: float | None) -> float:
        """Return the noise rate of a picture, on the grid; seeded by source and variant."""
        mean = self.mean(known(similarity))
        rate = mean
        if self.sigma:
            normal = NormalDist(mean, self.sigma)
            below, above = normal.cdf(self.low), normal.cdf(self.high)
            uniform = seed_of(self.seed, "noise rate", sample.sha256, variant) / 2**63
            rate = normal.inv_cdf(min(1 - EDGE, max(EDGE, below + uniform * (above - below))))
        on_grid = round(rate / GRID) * GRID
        return round(min(self.high, max(self.low, on_grid)), 3)
