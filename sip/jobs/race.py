"""Successive halving over seeds, under a budget of U-Net evaluations.

Source: Jamieson and Talwalkar, AISTATS 2016 (arXiv 1502.07943); the resource is the number of
seeds.
All candidates of a round have the same seeds, so their means compare them seed by seed. Only
validation is looked at. What is decided follows from finished runs, whether they are new or cached.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from sip.core.progress import say
from sip.core.text import counted

DECIMALS = 9  # of numbers that are equal but for rounding


@dataclass(frozen=True)
class Score:
    """What a run tells the race.

    Attributes:
        accuracy: Validation accuracy, in [0, 1].
        images: Generator and id of each image that was generated for it -> U-Net evaluations.
    """

    accuracy: float
    images: Mapping[str, int]


Block = Callable[[int], list[Score]]  # seed -> a score of each candidate of the round
Start = Callable[[str, Sequence[int], Sequence[int]], Block]  # title, candidates, seeds


@dataclass
class Race:
    """Candidates, known by number, and what their runs have told.

    Attributes:
        num_candidates: Candidates.
        rounds: Seeds of a candidate after each round, rising.
        keep: Share of the candidates that goes on to the next round, in (0, 1).
        budget: U-Net evaluations; None: no bound.
        scores: Candidate -> its scores, by seed.
    """

    num_candidates: int
    rounds: Sequence[int]
    keep: float
    budget: int | None
    scores: dict[int, list[Score]] = field(default_factory=dict)

    def sizes(self) -> list[tuple[int, range]]:
        """Return how many candidates each round has, and which seeds it adds."""
        num, first, sizes = self.num_candidates, 0, []
        for until in self.rounds:
            sizes.append((num, range(first, until)))
            num, first = ceil(round(num * self.keep, DECIMALS)), until  # 50 * 0.14 is 7 and a rest
        return sizes

    def winner(self, start: Start) -> int:
        """Run the rounds, as far as the budget allows; return the best candidate.

        A seed is started for all candidates of a round or for none: if what they needed for the
        seed before would exceed the budget, the race ends. The first seed is always run.

        Args:
            start: Prepares a round.
        """
        racing = list(range(self.num_candidates))
        self.scores = {number: [] for number in racing}
        for number, (num, seeds) in enumerate(self.sizes(), 1):
            racing = self.ranked(racing)[:num]
            block = start(f"round {number} of {len(self.rounds)}", racing, seeds)
            for seed in seeds:
                if self.budget is not None and self.spent + self._next(racing) > self.budget:
                    done = counted(len(self.scores[racing[0]]), "seed")
                    text = f"{self.spent:,} of {self.budget:,} U-Net evaluations after {done}"
                    say("policy", f"{text}; another one would exceed the budget")
                    return self.ranked(racing)[0]
                for candidate, score in zip(racing, block(seed), strict=True):
                    self.scores[candidate].append(score)
        return self.ranked(racing)[0]

    def accuracy(self, candidate: int) -> float:
        """Return the mean validation accuracy of a candidate that has a score."""
        scores = self.scores[candidate]
        return round(sum(score.accuracy for score in scores) / len(scores), DECIMALS)

    def ranked(self, candidates: Sequence[int]) -> list[int]:
        """Return candidates with the same seeds, the best first; of equals the cheapest."""
        if not all(self.scores[one] for one in candidates):
            return list(candidates)
        return sorted(
            candidates, key=lambda one: (-self.accuracy(one), _cost(self.scores[one]), one)
        )

    @property
    def spent(self) -> int:
        """U-Net evaluations of all images, whichever run generated them, each counted once."""
        return _cost(score for scores in self.scores.values() for score in scores)

    def _next(self, racing: Sequence[int]) -> int:
        """Return what another seed takes, by what the last one took."""
        return _cost(self.scores[one][-1] for one in racing if self.scores[one])


def _cost(scores: Iterable[Score]) -> int:
    images: dict[str, int] = {}
    for score in scores:
        images.update(score.images)
    return sum(images.values())
