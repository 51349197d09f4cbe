"""The race of a policy search: who goes on, what it costs, when it ends, who wins."""

from collections.abc import Sequence

import pytest
from scipy import stats

from sip.jobs.policy import verdict_of
from sip.jobs.race import Block, Race, Score

SHARED = {"shared": 100}


def started(race: Race, accuracies: Sequence[Sequence[float]], cost: int = 10) -> list:
    """Run a race of made-up candidates; return (candidates, seed) of each block and the winner."""
    blocks: list = []

    def start(title: str, racing: Sequence[int], seeds: Sequence[int]) -> Block:
        def block(seed: int) -> list[Score]:
            blocks.append((list(racing), seed))
            return [
                Score(accuracies[one][seed], SHARED | {f"{one}-{seed}": cost * (one + 1)})
                for one in racing
            ]

        return block

    winner = race.winner(start)
    return [*blocks, winner]


# The first is the best on the first two seeds, the last one on all four.
ACCURACIES = [
    [0.9, 0.9, 0.1, 0.1],
    [0.1, 0.2, 0.9, 0.9],
    [0.5, 0.5, 0.5, 0.6],
    [0.6, 0.6, 0.9, 0.9],
    [0.4, 0.4, 0.9, 0.9],
]


def test_the_better_half_goes_on_with_more_seeds() -> None:
    race = Race(5, [2, 3, 4], 0.5, None)
    assert race.sizes() == [(5, range(2)), (3, range(2, 3)), (2, range(3, 4))]
    assert started(race, ACCURACIES) == [
        ([0, 1, 2, 3, 4], 0),
        ([0, 1, 2, 3, 4], 1),
        ([0, 3, 2], 2),
        ([3, 0], 3),
        3,
    ]
    assert race.accuracy(3) == pytest.approx(0.75) and race.accuracy(1) == pytest.approx(0.15)


def test_a_share_is_rounded_before_it_is_rounded_up() -> None:
    assert [num for num, _ in Race(50, [1, 2], 0.14, None).sizes()] == [50, 7]  # 7.000000000000001


def test_an_image_that_several_runs_use_is_paid_once_and_of_equals_the_cheapest_wins() -> None:
    race = Race(3, [2], 0.5, None)
    assert started(race, [[0.5, 0.7], [0.7, 0.5], [0.6, 0.6]])[-1] == 0  # 0.1 + 0.2 is not 0.3
    assert race.spent == 100 + 2 * (10 + 20 + 30)
    assert started(Race(3, [2], 0.5, None), [[0.5, 0.6], [0.7, 0.5], [0.6, 0.6]], -1)[-1] == 2


@pytest.mark.parametrize(("budget", "num_blocks"), [(1, 1), (499, 1), (500, 2), (579, 2), (580, 3)])
def test_no_seed_is_started_that_would_exceed_the_budget(
    budget: int, num_blocks: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first costs 100 + 150; another one of all five at most as much, of three 100 + 80."""
    race = Race(5, [2, 3, 4], 0.5, budget)
    *blocks, winner = started(race, ACCURACIES)
    assert len(blocks) == num_blocks and winner == (3 if num_blocks > 2 else 0)
    assert race.spent <= budget or num_blocks == 1
    assert "another one would exceed the budget" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("gains", "words"),
    [
        ([1.0, 2.0, 1.5, 2.5], "the winner is better"),
        ([-1.0, -2.0, -1.5, -2.5], "the control is better"),
        ([1.0, -2.0, 1.5, -0.5], "it cannot be told which is better"),
    ],
)
def test_the_final_comparison_is_paired(gains: Sequence[float], words: str) -> None:
    control = [70.0, 90.0, 80.0, 60.0]
    winner = [value + gain for value, gain in zip(control, gains, strict=True)]
    line = verdict_of(winner, control)
    p_value = stats.ttest_rel(winner, control).pvalue
    half = stats.t.ppf(0.975, 3) * stats.sem(gains)
    assert line.endswith(f"± {half:.2f} points (95 %, p = {p_value:.2g}): {words}")
    assert f"winner {sum(winner) / 4:.2f}, control 75.00" in line
    assert verdict_of([2.0] * 3, [1.0] * 3).endswith("paired difference +1.00 with every seed")
