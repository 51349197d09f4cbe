"""SIP, step 6: the classifier trains on the originals and the drawn pictures together.

arXiv 2302.02070 states that both are used, not how; all ways here are our reading. `concat` is the
plainest. `replace` is DA-Fusion's (Trabucco et al., ICLR 2024, arXiv 2302.07944, section 4: an
original is replaced by one of its own drawn pictures with probability alpha = 0.5). Whatever the
way, the number of optimiser steps is the same: it is a budget of the classifier's recipe.
"""

from typing import TYPE_CHECKING

from sip.augmentation.base import Sources
from sip.augmentation.offline.passes import passes
from sip.core.errors import UserError
from sip.core.hashing import seed_of

if TYPE_CHECKING:
    from torch import Tensor

MODES = ("concat", "replace", "weighted")


class Drawn:
    """Drawn pictures enter the training in one of three ways.

    Args:
        mode: "concat" (real and drawn ones, each seen equally often), "replace" (a pass goes
            through the real ones alone, and shows in place of one, with probability `p`, one of
            its own drawn ones) or "weighted" (as concat, but a drawn one weighs `weight` in the
            loss, which is divided by the batch's sum of weights).
        p: Of mode replace, in [0, 1].
        weight: Of mode weighted, > 0; a real picture weighs 1.
        ratio: Drawn pictures per real one at most, > 0; None for all. 0.5 keeps one drawn picture
            of half of the originals. What a smaller ratio keeps, a larger one keeps too.

    Raises:
        UserError: An unknown mode, or a value out of its range.
    """

    draws = True

    def __init__(self, mode: str, p: float, weight: float, ratio: float | None) -> None:
        if mode not in MODES:
            raise UserError(f"mixing.mode: expected one of {', '.join(MODES)}, came {mode!r}")
        if not 0 <= p <= 1:
            raise UserError(f"mixing.p: expected a probability in [0, 1], came {p}")
        if not weight > 0:
            raise UserError(f"mixing.weight: expected a number > 0, came {weight}")
        if ratio is not None and not ratio > 0:
            raise UserError(f"mixing.ratio: expected null or a number > 0, came {ratio}")
        self.mode, self.p, self.weight, self.ratio = mode, p, weight, ratio

    def recipe(self) -> dict:
        """Return everything that decides which training pictures there are."""
        if self.mode == "concat" and self.ratio is None:
            # The name that this way had when it was the only one: its finished runs are found.
            return {"class": "sip.augmentation.offline.concat.Concat", "version": 1}
        own = {"replace": {"p": self.p}, "weighted": {"weight": self.weight}}.get(self.mode, {})
        return {
            "class": "sip.augmentation.offline.drawn.Drawn",
            "version": 1,
            "mode": self.mode,
            "ratio": self.ratio,
            **own,
        }

    def pool(self, sources: Sources, seed: int) -> list[int]:
        """Return what a pass goes through: the real pictures, and but for replace the kept drawn.

        Raises:
            UserError: Mode replace, and there are drawn pictures alone.
        """
        real = [position for position, source in enumerate(sources) if source is None]
        if self.mode != "replace":
            return sorted(real + self._kept(sources, seed))
        if not real:
            raise UserError("mixing.mode=replace: expected real pictures in train, came none")
        return real

    def order(self, sources: Sources, length: int, seed: int) -> "Tensor":
        """Return which picture is seen at each position of the training: (length,), int64."""
        order = passes(self.pool(sources, seed), length, seed)
        return self._replaced(order, sources, seed) if self.mode == "replace" else order

    def weights(self, sources: Sources) -> "Tensor | None":
        """Return each picture's weight in the loss, (N,), float32; None where all are 1."""
        import torch

        if self.mode != "weighted":
            return None
        return torch.tensor([1.0 if source is None else self.weight for source in sources])

    def _kept(self, sources: Sources, seed: int) -> list[int]:
        """Return the positions of the drawn pictures that `ratio` leaves.

        First one of each original, in a random order of the originals, then a second, ...
        """
        import torch

        drawn = [position for position, source in enumerate(sources) if source is not None]
        if self.ratio is None:
            return drawn
        generator = torch.Generator().manual_seed(seed_of(seed, "ratio"))
        rank = torch.randperm(len(sources), generator=generator).tolist()
        turns: dict[int, int] = {}
        keys = {}
        for position in drawn:
            source = sources[position]
            assert source is not None
            turns[source] = turns.get(source, 0) + 1
            keys[position] = (turns[source], rank[source])
        # Rounded first: 0.29 * 100 is 28.999999999999996.
        most = int(round(self.ratio * (len(sources) - len(drawn)), 6))
        return sorted(drawn, key=keys.__getitem__)[:most]

    def _replaced(self, order: "Tensor", sources: Sources, seed: int) -> "Tensor":
        """Return the order with some real pictures replaced by drawn ones of their own."""
        import torch

        variants: dict[int, list[int]] = {}
        for position in sorted(self._kept(sources, seed)):
            source = sources[position]
            assert source is not None
            variants.setdefault(source, []).append(position)
        generator = torch.Generator().manual_seed(seed_of(seed, "replace"))
        # Two numbers a position, used or not: a longer order begins with the shorter one.
        numbers = torch.rand(len(order), 2, generator=generator, dtype=torch.float64).tolist()
        seen = order.tolist()
        for position, (chance, choice) in enumerate(numbers):
            if chance < self.p and (own := variants.get(seen[position])):
                seen[position] = own[int(choice * len(own))]
        return torch.tensor(seen)
