"""SIP, step 6: the classifier trains on the originals and the generated images together.

arXiv 2302.02070 states that both are used, not how; all modes here are our reading. `concat` is
the plainest. `replace` is DA-Fusion's (Trabucco et al., ICLR 2024, arXiv 2302.07944, section 4: an
original is replaced by one of its own generated images with probability alpha = 0.5). `verdict` is
ours. In all modes the number of optimiser steps is the same: it is a budget of the classifier's
recipe.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from sip.augmentation.base import Sources
from sip.augmentation.offline.passes import passes
from sip.core.component import Component, component
from sip.core.errors import UserError
from sip.core.hashing import seed_of
from sip.core.ranges import Positive, Share

if TYPE_CHECKING:
    from torch import Tensor

LEAST = 1e-4  # weight of an image whose probability is 0: verdicts have four decimals
NO_PROBABILITY = (
    "mixing.mode=verdict: must come with a verdict that gives a probability on each generated "
    "image, got none; choose augmentation=sip_adaptive, filter=zero_shot or filter=agreement"
)


@component
class GeneratedMode(Component):
    """Generated images enter the training in one of four modes.

    Args:
        mode: "concat" (real and generated images, each seen equally often), "replace" (a pass goes
            through the real ones only, and shows instead of one, with probability `p`, one of its
            own generated images), "weighted" (as concat, but a generated image has the weight
            `weight` in the loss, which is divided by the batch's sum of weights) or "verdict" (as
            weighted, by the probability of its label that the verdict on the image gives).
        p: For mode replace.
        weight: For mode weighted; a real image has weight 1.
        ratio: Generated images per real one at most; None for all. 0.5 keeps one generated image
            of half of the originals. What a smaller ratio keeps, a larger one keeps too.
    """

    generates: ClassVar[bool] = True

    mode: Literal["concat", "replace", "weighted", "verdict"]
    p: Share
    weight: Positive
    ratio: Positive | None

    @property
    def reads_probability(self) -> bool:
        """Whether the loss is weighted by verdicts."""
        return self.mode == "verdict"

    def pool(self, sources: Sources, seed: int) -> Sequence[int]:
        """Return what a pass goes through: real images, and except for replace generated ones.

        Raises:
            UserError: Mode replace, and there are generated images only.
        """
        if self.mode != "replace" and self.ratio is None:
            return range(len(sources))
        real = [position for position, source in enumerate(sources) if source is None]
        if self.mode != "replace":
            return sorted(real + self._kept(sources, seed))
        if not real:
            raise UserError("mixing.mode=replace: needs real images in train, got none")
        return real

    def order(self, sources: Sources, length: int, seed: int) -> "Tensor":
        """Return which image is seen at each position of the training: (length,), int64."""
        order = passes(self.pool(sources, seed), length, seed)
        return self._replaced(order, sources, seed) if self.mode == "replace" else order

    def weights(self, sources: Sources, probabilities: Sequence[float | None]) -> "Tensor | None":
        """Return each image's weight in the loss, (N,), float32, > 0; None if all are 1.

        Raises:
            UserError: Mode verdict, and a generated image has no probability.
        """
        import torch

        if self.mode == "weighted":
            return torch.tensor([1.0 if source is None else self.weight for source in sources])
        if self.mode != "verdict":
            return None
        pairs = zip(sources, probabilities, strict=True)
        judged = [1.0 if source is None else probability for source, probability in pairs]
        if None in judged:
            raise UserError(NO_PROBABILITY)
        weights = torch.tensor(judged).clamp(min=LEAST)
        return None if bool((weights == 1).all()) else weights

    def _kept(self, sources: Sources, seed: int) -> list[int]:
        """Return the positions of the generated images that `ratio` leaves.

        First one of each original, in a random order of the originals, then a second, ...
        """
        import torch

        generated = [position for position, source in enumerate(sources) if source is not None]
        if self.ratio is None:
            return generated
        generator = torch.Generator().manual_seed(seed_of(seed, "ratio"))
        rank = torch.randperm(len(sources), generator=generator).tolist()
        turns: dict[int, int] = {}
        keys = {}
        for position in generated:
            source = sources[position]
            assert source is not None
            turns[source] = turns.get(source, 0) + 1
            keys[position] = (turns[source], rank[source])
        # Rounded first: 0.29 * 100 is 28.999999999999996.
        most = int(round(self.ratio * (len(sources) - len(generated)), 6))
        return sorted(generated, key=keys.__getitem__)[:most]

    def _replaced(self, order: "Tensor", sources: Sources, seed: int) -> "Tensor":
        """Return the order with real images replaced, at random, by their generated ones."""
        import torch

        kept = torch.tensor(sorted(self._kept(sources, seed)), dtype=torch.int64)
        originals = torch.tensor([sources[position] for position in kept.tolist()]).long()
        kept = kept[torch.argsort(originals, stable=True)]  # those of one original in a row
        num = torch.bincount(originals, minlength=len(sources))  # of each original
        first = num.cumsum(0) - num
        generator = torch.Generator().manual_seed(seed_of(seed, "replace"))
        # Two numbers a position, used or not: a longer order begins with the shorter one.
        numbers = torch.rand(len(order), 2, generator=generator, dtype=torch.float64)
        replaced = (numbers[:, 0] < self.p) & (num[order] > 0)
        shown = order[replaced]
        choice = (numbers[replaced, 1] * num[shown]).long()
        return order.masked_scatter(replaced, kept[first[shown] + choice])
